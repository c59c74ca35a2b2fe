"""Several processes on one CPU: they train together, and their metrics are those of one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from recbole_echomamba import Trainer, load_run, run

ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


def flags(settings):
    return [f"--{key}={value}" for key, value in settings.items()]


def launched(how, settings, *more):
    door = [str(ROOT / "run_recbole.py"), "--model=EchoMamba4Rec", "--dataset=cycle", "--result_file=r.json"]
    if how == "torchrun":
        start = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            f"--master-port={free_port()}",
            "--nproc-per-node=2",
            *door,
        ]
    else:
        start = [sys.executable, *door, "--nproc=2", f"--port={free_port()}"]
    done = subprocess.run([*start, *flags(settings), *more], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(Path("r.json").read_text()), done.stdout + done.stderr


@pytest.mark.parametrize("how", ["torchrun", "nproc"])
def test_two_processes_have_the_metrics_of_one(settings, how):
    # 48 users in batches of 7: the shards of two processes are uneven
    result, log = launched(how, {**settings, "eval_batch_size": 14, "learning_rate": 0.01, "metric_decimal_place": 7})
    assert "2 processes: 64 samples a step, 32 in each" in log
    config, model, _, _, valid, test = load_run(result["run_directory"])
    alone = Trainer(config, model)
    for name, loader in (("test_result", test), ("best_valid_result", valid)):
        for metric, value in alone.evaluate(loader, load_best_model=False).items():
            assert result[name][metric] == pytest.approx(value, abs=1e-6), metric
    ranks = pyarrow.parquet.read_table(Path(result["run_directory"]) / "test_ranks.parquet")
    assert sorted(ranks["user"].to_pylist()) == sorted(f"u{user}" for user in range(48))
    alone.evaluate(test, load_best_model=False)
    own = dict(zip(*(alone.eval_collector.ranks()[key].tolist() for key in ("user", "rank")), strict=True))
    users = test.dataset.token2id("user_id", ranks["user"].to_pylist()).tolist()
    assert dict(zip(users, ranks["rank"].to_pylist(), strict=True)) == own


def test_two_processes_with_dropout_off_train_as_one(settings):
    given = {
        **settings,
        "dropout_prob": 0.0,
        "epochs": 2,
        "shuffle": False,
        "train_batch_size": 48,
        "metric_decimal_place": 7,
    }
    one = run("EchoMamba4Rec", "cycle", config_dict=given)
    two, _ = launched("nproc", given)
    # 384 samples in batches of 48: each step sees the same samples, half of them in each process, in another order
    for a, b in zip(one["history"], two["history"], strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=0.02)


def test_a_run_of_two_processes_can_be_resumed(settings):
    first, _ = launched("nproc", {**settings, "epochs": 1})
    second, _ = launched("nproc", {"epochs": 2}, f"--resume={first['run_directory']}")
    assert second["epochs"] == 2
    assert second["run_directory"] == first["run_directory"]
    assert second["history"][0]["train_loss"] == first["history"][0]["train_loss"]


def test_ctrl_c_ends_all_processes_and_says_how_to_go_on(settings, tmp_path):
    door = [sys.executable, str(ROOT / "run_recbole.py"), "--model=EchoMamba4Rec", "--dataset=cycle"]
    given = flags({**settings, "epochs": 10000, "stopping_step": 10000})
    with (tmp_path / "log.txt").open("w+") as log:
        run_of_two = subprocess.Popen(
            [*door, "--nproc=2", f"--port={free_port()}", *given], stderr=log, start_new_session=True
        )
        while "epoch 1 training" not in (written := (tmp_path / "log.txt").read_text()):
            assert run_of_two.poll() is None, written
            time.sleep(0.1)
        os.killpg(run_of_two.pid, signal.SIGINT)  # what a terminal does: every process of the group has it
        assert run_of_two.wait(120) == 130
        (line,) = [line for line in (tmp_path / "log.txt").read_text().splitlines() if "interrupted" in line]
    again, _ = launched("nproc", {"epochs": 2}, "--resume=" + line.partition("--resume=")[2])
    assert again["epochs"] >= 2


def test_a_result_larger_than_a_pipe_holds_comes_back(settings):
    given = {**settings, "epochs": 1, "variant": "x" * 100_000}
    result = run("Mamba4Rec", "cycle", config_dict=given, nproc=2, port=str(free_port()))
    assert result["variant"] == given["variant"]


def test_an_error_in_several_processes_is_one_clear_line(settings, capsys):
    from recbole_echomamba.__main__ import main

    given = flags({**settings, "data_path": "/nowhere"})
    assert main(["run", "--model=Mamba4Rec", "--dataset=cycle", "--nproc=2", f"--port={free_port()}", *given]) == 1
    message = capsys.readouterr().err
    assert "error: dataset 'cycle' is missing" in message
    assert main(["run", "--model=Mamba4Rec", "--dataset=cycle", "--nproc=0", *given]) == 1
    assert "nproc must be at least 1" in capsys.readouterr().err


def test_the_number_of_processes_is_part_of_the_hash(settings):
    two, _ = launched("nproc", {**settings, "epochs": 1})
    one = run("EchoMamba4Rec", "cycle", config_dict={**settings, "epochs": 1}, saved=False)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["config_hash"] != two["config_hash"]
