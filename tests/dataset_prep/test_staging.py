"""The files of a dataset appear all together and complete, or not at all."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dataset_prep import layouts

ROOT = Path(__file__).parents[2]
PREPARE = "import sys; from dataset_prep.__main__ import main; sys.exit(main(sys.argv[1:]))"
HOLD_LOCK = """
import sys
from pathlib import Path
from dataset_prep.staging import lock_and_stage
with lock_and_stage(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def start_process(arguments, code=PREPARE, **kwargs):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **kwargs)


def kill_after(target, call=1, instead=False):
    """Code that prepares a dataset and kills its process in the ``call``-th call of ``target``.

    The call is finished first, unless the process is killed ``instead``.
    """
    return f"""
import os, pkgutil
owner_name, _, name = {target!r}.rpartition(".")
owner = pkgutil.resolve_name(owner_name)
original = getattr(owner, name)
calls = 0
def counted(*arguments, **keywords):
    global calls
    calls += 1
    last = calls == {call}
    result = None if last and {instead} else original(*arguments, **keywords)
    if last:
        os.kill(os.getpid(), 9)
    return result
setattr(owner, name, counted)
{PREPARE}
"""


def read_files(folder="out/ml-1m"):
    return {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.is_file() and file.name != ".lock"}


@pytest.fixture(scope="module")
def new_raw(tmp_path_factory):
    return layouts.write_ml1m(tmp_path_factory.mktemp("raw") / "new", layouts.walks(30, 30))


@pytest.fixture(scope="module")
def large_raw(tmp_path_factory):
    """Raw data whose ``.inter`` file has 1.8 million bytes."""
    return layouts.write_ml1m(tmp_path_factory.mktemp("raw") / "large", layouts.walks(300, 300))


@pytest.fixture
def before(tmp_path, prepare):
    """The files of a prepared dataset, from other raw data than ``new_raw``."""
    prepare("ml-1m", layouts.write_ml1m(tmp_path / "old", layouts.walks(3, 3)))
    return read_files()


@pytest.mark.parametrize(
    ("target", "instead"),
    [
        ("dataset_prep.preparation.write_rows", False),
        ("dataset_prep.event_log.EventLog.write", False),
        ("dataset_prep.preparation.publish", True),
    ],
)
def test_killed_before_its_files_are_complete_a_preparation_leaves_the_old_ones(before, new_raw, target, instead):
    process = start_process(["ml-1m", "--raw", new_raw, "--out", "out"], kill_after(target, instead=instead))
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert read_files() == before


@pytest.mark.parametrize("moved", [1, 2, 3])
def test_killed_while_files_are_moved_it_leaves_complete_files_without_a_record(before, new_raw, prepare, moved):
    arguments = ["ml-1m", "--raw", new_raw, "--out", "out"]
    process = start_process(arguments, kill_after("os.replace", call=moved))
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    left = read_files()
    assert set(left) == set(before) - {"ml-1m.prep.json"}
    assert prepare("ml-1m", new_raw)[1].startswith("ml-1m: 30 users, 30 items, 900 interactions, in ")
    after = read_files()
    assert set(after) == set(before)
    assert sum(left[name] == after[name] != before[name] for name in left) == moved
    assert sum(left[name] == before[name] != after[name] for name in left) == 3 - moved
    assert not Path("out/ml-1m/.unfinished").exists()
    assert not Path("out/ml-1m/.lock").exists()


@pytest.mark.parametrize("limit", [1_000, 100_000, 1_200_000])
def test_a_full_disk_is_one_line_and_leaves_the_old_files(before, large_raw, limit):
    process = start_process(
        ["ml-1m", "--raw", large_raw, "--out", "out"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    _, err = process.communicate()
    assert process.returncode == 1
    (error,) = [line for line in err.splitlines() if not line.startswith("WARNING")]
    assert error.startswith("error: cannot ")
    assert read_files() == before
    assert not Path("out/ml-1m/.unfinished").exists()


def test_two_preparations_do_not_write_into_one_folder_and_a_dead_one_holds_no_lock(before, new_raw, prepare):
    process = start_process(["out/ml-1m"], HOLD_LOCK, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "locked\n"
    code, _, err = prepare("ml-1m", new_raw)
    assert code == 1
    assert err == "error: another preparation is writing into out/ml-1m\n"
    assert read_files() == before
    process.kill()
    process.communicate()
    assert prepare("ml-1m", new_raw)[0] == 0
    assert set(os.listdir("out/ml-1m")) == set(before)
