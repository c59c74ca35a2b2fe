"""The command line: an error that a user can fix is one line, anything else is shown as a bug."""

import subprocess
import sys
from pathlib import Path

import pytest

from dataset_prep import preparation
from dataset_prep.__main__ import SOURCES, main, make_parser
from dataset_prep.errors import MissingFileError, PreparationError
from dataset_prep.origins import ORIGINS
from tests.dataset_prep import layouts

ROOT = Path(__file__).parents[2]


def run_module(*arguments):
    command = [sys.executable, "-m", "dataset_prep", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_module_prints_the_summary_and_exits_with_zero(tmp_path):
    raw = layouts.write_ml1m(tmp_path / "raw", layouts.walks(3, 3))
    done = run_module("ml-1m", "--raw", raw, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert done.stdout == f"ml-1m: 3 users, 3 items, 9 interactions, in {tmp_path / 'out'}/ml-1m/ml-1m.inter\n"
    assert (tmp_path / "out" / "ml-1m" / "ml-1m.inter").exists()


def test_an_error_of_the_user_is_one_line_without_a_hint(tmp_path, prepare):
    code, out, err = prepare("ml-1m", tmp_path / "gone")
    assert (code, out, err) == (1, "", f"error: {tmp_path}/gone does not exist\n")


def test_debug_shows_the_traceback_of_an_error_of_the_user(tmp_path, prepare):
    with pytest.raises(MissingFileError, match="gone does not exist"):
        prepare("ml-1m", tmp_path / "gone", "--debug")


def test_any_other_error_is_shown_as_a_bug_with_the_hint_at_debug(tmp_path, prepare, monkeypatch):
    def fail(*_):
        raise KeyError("surprise")

    monkeypatch.setattr(preparation, "write_rows", fail)
    raw = layouts.write_ml1m(tmp_path / "raw", layouts.walks(3, 3))
    code, out, err = prepare("ml-1m", raw)
    assert (code, out) == (1, "")
    assert err == "error: KeyError: 'surprise'\nthis is a bug; run again with --debug for the traceback\n"
    with pytest.raises(KeyError, match="surprise"):
        prepare("ml-1m", raw, "--debug")
    assert not Path("out").exists()


def test_an_error_of_the_operating_system_is_one_line(tmp_path, prepare):
    Path("out").write_text("a file, not a folder")
    code, _, err = prepare("ml-1m", layouts.write_ml1m(tmp_path / "raw", layouts.walks(3, 3)))
    assert code == 1
    assert err.startswith("error: cannot prepare ml-1m in out/ml-1m: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("existing", ["out", "out/ml-1m"])
def test_a_failed_preparation_deletes_only_the_folders_that_it_made(tmp_path, prepare, existing):
    raw = layouts.write_ml1m(tmp_path / "raw", layouts.walks(3, 3))
    (raw / "users.dat").write_text("broken\n")
    Path(existing).mkdir(parents=True)
    assert prepare("ml-1m", raw)[0] == 1
    assert [str(path) for path in Path().rglob("out/**/*")] == (["out/ml-1m"] if existing == "out/ml-1m" else [])
    assert Path("out").exists()


@pytest.mark.parametrize("flags", [["--last=3", "--last", "4"], ["--out=a", "--out=b"], ["--min-item=1", "--min-i=2"]])
def test_a_flag_with_two_values_is_refused(tmp_path, capsys, flags):
    with pytest.raises(SystemExit, match="2"):
        main(["ml-1m", f"--raw={tmp_path}", *flags])
    assert "is given twice, as " in capsys.readouterr().err


def test_a_flag_given_twice_with_the_same_value_is_accepted():
    options = ["ml-1m", "--last=3", "--last=3"]
    parser = make_parser()
    assert [parser.parse_args(options).last for _ in range(2)] == [3, 3]
    assert parser.parse_args(["ml-1m", "--last=4"]).last == 4


def test_debug_does_not_make_a_prepared_dataset_outdated(tmp_path, prepare):
    raw = layouts.write_ml1m(tmp_path / "raw", layouts.walks(3, 3))
    prepare("ml-1m", raw)
    assert "nothing to do" in prepare("ml-1m", raw, "--debug")[1]


def test_what_a_user_can_mend_is_a_value_error_and_a_missing_file_also_a_file_not_found_error():
    assert issubclass(PreparationError, ValueError)
    assert issubclass(MissingFileError, PreparationError)
    assert issubclass(MissingFileError, FileNotFoundError)


def test_every_dataset_but_a_table_has_an_origin():
    assert set(SOURCES) == {*ORIGINS, "table"}


def test_origins_load_neither_duckdb_nor_pyarrow():
    code = "import sys, dataset_prep.origins; print([m for m in ('duckdb', 'pyarrow', 'numpy') if m in sys.modules])"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert printed == "[]\n"


@pytest.mark.parametrize("name", SOURCES)
def test_without_raw_the_message_says_how_to_get_the_files(name, capsys):
    columns = ["--user-col=u", "--item-col=i", "--time-col=t", "--name=mine"] if name == "table" else []
    assert main([name, *columns]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: --raw is missing: ")
    assert (ORIGINS[name].page if name in ORIGINS else "point --raw at .csv") in err
