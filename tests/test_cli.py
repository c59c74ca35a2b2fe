"""The command line as people meet it: exit codes, one clear line, files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_echomamba.__main__ import main, settings_from
from tests.conftest import SMALL, write_inter

ROOT = Path(__file__).parent.parent


def door(*arguments):
    command = [sys.executable, str(ROOT / "run_recbole.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def flags(settings):
    return [f"--{key}={value}" for key, value in settings.items()]


def test_run_recbole_trains_prints_a_table_and_writes_the_result(settings):
    done = door("--model=EchoMamba4Rec", "--dataset=cycle", "--result_file=r.json", *flags(settings))
    assert done.returncode == 0, done.stderr
    result = json.loads(Path("r.json").read_text())
    for metric, value in result["test_result"].items():
        assert any(
            line.split() == [metric, str(result["best_valid_result"][metric]), str(value)]
            for line in done.stdout.splitlines()
        )
    assert result["run_directory"] in done.stdout


def test_the_package_has_the_same_door(settings):
    command = [sys.executable, "-m", "recbole_echomamba", "run", "-m", "Mamba4Rec", "-d", "cycle", *flags(settings)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ndcg@10" in done.stdout


BAD = {
    "unknown model": (["--model=EchoMamba", "--dataset=cycle"], ["EchoMamba4Rec"]),
    "no model": (["--dataset=cycle"], ["--model"]),
    "no dataset": (["--model=Mamba4Rec"], ["--dataset"]),
    "unknown dataset": (["--model=Mamba4Rec", "--dataset=nothing"], ["nothing.inter", "data_path"]),
    "unprepared ml-1m": (["--model=Mamba4Rec", "--dataset=ml-1m"], ["python -m dataset_prep ml-1m"]),
    "unknown key": (["--model=Mamba4Rec", "--dataset=cycle", "--drop_out=1"], ["drop_out", "dropout_prob"]),
    "no value": (["--model=Mamba4Rec", "--dataset=cycle", "--epochs", "3"], ["--epochs", "--key=value"]),
    "bad length": (["--model=Mamba4Rec", "--dataset=cycle", "--MAX_ITEM_LIST_LENGTH=0"], ["MAX_ITEM_LIST_LENGTH"]),
    "no config file": (["--model=Mamba4Rec", "--dataset=cycle", "--config_files=gone.yaml"], ["gone.yaml"]),
    "twice": (["--model=Mamba4Rec", "--dataset=cycle", "--epochs=1", "--epochs=2"], ["--epochs", "twice"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_and_leaves_nothing(case, data_path, tmp_path, capsys):
    arguments, words = BAD[case]
    assert main(["run", *arguments, f"--data_path={data_path}", f"--checkpoint_dir={tmp_path / 'saved'}"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "Traceback" not in message
    assert all(word in message for word in words)
    assert not (tmp_path / "saved").exists()


def test_debug_shows_the_traceback(data_path):
    done = door("--model=EchoMamba", "--dataset=cycle", f"--data_path={data_path}", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_an_inter_file_without_timestamps_is_refused_with_its_name(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    write_inter(tmp_path / "mine" / "mine.inter", [("a", "b")], "user_id:token\titem_id:token")
    assert main(["run", "--model=Mamba4Rec", "--dataset=mine", f"--data_path={tmp_path}", *flags(SMALL)]) == 1
    message = capsys.readouterr().err
    assert "mine.inter, line 1" in message
    assert "timestamp:float" in message


def test_a_value_may_hold_an_equals_sign():
    assert settings_from(["--variant=a=b", "--topk=[5,10]"]) == {"variant": "a=b", "topk": "[5,10]"}


def test_help_names_every_command_and_what_it_does(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "run        Train and test one model",
        "compare    Run what has no result",
        "inspect    Write the page",
    ):
        assert line in printed
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "0.1.0\n"


def test_without_a_command_the_usage_is_shown(capsys):
    assert main([]) == 2
    assert "usage: echomamba {run" in capsys.readouterr().err
