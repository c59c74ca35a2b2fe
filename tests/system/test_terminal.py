import logging
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from recbole_echomamba.system.terminal import PROGRESS, RunLog, format_duration, progress_bar, run_log, showing_progress

# the test suite ignores warnings of libraries
pytestmark = pytest.mark.filterwarnings("always")


@contextmanager
def new_program():
    """Take away pytest's own handlers of the log: a program starts with none."""
    root = logging.getLogger()
    own, root.handlers = root.handlers, []
    try:
        yield
    finally:
        root.handlers = own


def log_one_of_each():
    logging.getLogger().info("epoch 0 training [time: 1.00s]")
    PROGRESS.info("epoch 1/3")
    logging.getLogger().warning("%d users are left out", 2)
    warnings.warn("pandas will change", FutureWarning, stacklevel=1)


def test_progress_and_warnings_are_shown_and_nothing_else(capsys):
    with new_program(), showing_progress():
        log_one_of_each()
        log_one_of_each()
    assert capsys.readouterr().err == "epoch 1/3\nwarning: 2 users are left out\nepoch 1/3\n"


def test_verbose_shows_everything(capsys):
    with new_program(), showing_progress(verbose=True):
        log_one_of_each()
    lines = capsys.readouterr().err.splitlines()
    for end in ("INFO  epoch 0 training [time: 1.00s]", "INFO  epoch 1/3", "WARNING  2 users are left out"):
        assert any(line.endswith(end) for line in lines)
    assert any("pandas will change" in line for line in lines)


def test_a_process_that_is_not_the_first_shows_no_progress(capsys):
    with new_program(), showing_progress(main_process=False):
        log_one_of_each()
    assert capsys.readouterr().err == ""


def test_a_program_that_has_set_up_its_logging_keeps_it(capsys):
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    assert root.handlers
    with showing_progress():
        assert (root.handlers, root.level) == before
        PROGRESS.info("epoch 1/3")
    assert capsys.readouterr().err == ""


def test_afterwards_logging_is_as_it_was():
    root, show = logging.getLogger(), warnings.showwarning
    before = (list(root.handlers), root.level)
    with new_program(), showing_progress(), run_log() as log:
        log.open(Path("log/run.log"), logging.DEBUG)
    assert (root.handlers, root.level, warnings.showwarning) == (*before, show)


def test_the_file_has_everything_from_the_start_without_colours(tmp_path):
    file = tmp_path / "log" / "run.log"
    with new_program(), showing_progress(), run_log() as log:
        log_one_of_each()
        log.open(file, logging.INFO)
        logging.getLogger().debug("too much")
        logging.getLogger().info("\x1b[1;35mTrain\x1b[0m %s", "later")
    text = file.read_text()
    for part in ("epoch 0 training", "epoch 1/3", "2 users are left out", "pandas will change", "INFO  Train later"):
        assert part in text
    assert "too much" not in text
    assert "\x1b" not in text


def test_a_log_without_records_leaves_no_file(tmp_path):
    with run_log() as log:
        log.open(tmp_path / "run.log", logging.WARNING)
    assert not (tmp_path / "run.log").exists()


def test_the_warnings_of_a_run_are_collected_once_and_without_those_of_libraries():
    with new_program(), showing_progress(), run_log() as log:
        log_one_of_each()
        log_one_of_each()
    assert log.warnings == ["2 users are left out"]
    assert RunLog().warnings == []


def test_a_bar_is_drawn_on_a_terminal_and_with_verbose_only(capsys, monkeypatch):
    def draw(**options):
        with new_program(), showing_progress(**options), progress_bar(2, "epoch 1", shown=True) as bar:
            bar.update(2)
        return capsys.readouterr().err

    assert draw() == ""
    assert "epoch 1: 100%" in draw(verbose=True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    drawn = draw()
    assert "epoch 1" in drawn
    # the bar is wiped out in the end
    assert drawn.endswith("\r")


def test_a_line_is_written_above_a_bar_and_not_into_it():
    code = """
import sys
sys.stderr.isatty = lambda: True
from recbole_echomamba.system.terminal import PROGRESS, progress_bar, showing_progress
with showing_progress(), progress_bar(2, "bar", shown=True) as bar:
    PROGRESS.info("a line")
"""
    drawn = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr
    assert b"\ra line\n" in drawn


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (250, "4 min 10 s"), (6720, "1 h 52 min")],
)
def test_a_duration_is_given_in_its_largest_units(seconds, text):
    assert format_duration(seconds) == text
