"""Several processes on one CPU: they train together, and their metrics are those of one."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from recbole_echomamba import Trainer, load_run, run
from recbole_echomamba.__main__ import main
from recbole_echomamba.training.distributed import torchrun_settings
from tests.conftest import SMALL

ROOT = Path(__file__).parents[2]


def free_port():
    """Return a port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


def flags(settings):
    return [f"--{key}={value}" for key, value in settings.items()]


def launch(how, settings, *more):
    """Run two processes from the command line; return the result and the log."""
    script = [str(ROOT / "run_recbole.py"), "--model=EchoMamba4Rec", "--dataset=cycle", "--result_file=r.json"]
    if how == "torchrun":
        start = ["-m", "torch.distributed.run", f"--master-port={free_port()}", "--nproc-per-node=2", *script]
    else:
        start = [*script, "--nproc=2", f"--port={free_port()}"]
    done = subprocess.run([sys.executable, *start, *flags(settings), *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(Path("r.json").read_text()), done.stdout + done.stderr


ALL_POSITIONS = {"train_positions": "all", "causal": True, "time_gaps": True, "lr_schedule": "cosine"}


@pytest.mark.parametrize(("how", "changed"), [("torchrun", {}), ("nproc", {}), ("nproc", ALL_POSITIONS)])
def test_two_processes_have_the_metrics_of_one(settings, how, changed):
    # 48 users in batches of 7: the shards of two processes are uneven
    settings = {**settings, "eval_batch_size": 14, "learning_rate": 0.01, "metric_decimal_place": 7, **changed}
    result, log = launch(how, settings)
    assert "2 processes: 64 samples a step, 32 in each" in log
    config, model, _, _, valid, test = load_run(result["run_directory"])
    alone = Trainer(config, model)
    for name, loader in (("test_result", test), ("best_valid_result", valid)):
        for metric, value in alone.evaluate(loader, load_best_model=False).items():
            assert result[name][metric] == pytest.approx(value, abs=1e-6), metric
    ranks = pyarrow.parquet.read_table(Path(result["run_directory"]) / "test_ranks.parquet")
    assert sorted(ranks["user"].to_pylist()) == sorted(f"u{user}" for user in range(48))
    alone.evaluate(test, load_best_model=False)
    users = test.dataset.token2id("user_id", ranks["user"].to_pylist()).tolist()
    for column in ("rank", "rank_unseen"):
        own = dict(zip(*(alone.eval_collector.ranks()[key].tolist() for key in ("user", column)), strict=True))
        assert dict(zip(users, ranks[column].to_pylist(), strict=True)) == own


@pytest.fixture(scope="module")
def comparable(data_path):
    """Settings with which several processes train as one: 384 samples in batches of 48, in the same order."""
    given = {"dropout_prob": 0.0, "shuffle": False, "train_batch_size": 48}
    return {**SMALL, "data_path": str(data_path), **given}


@pytest.fixture(scope="module")
def one_and_two(comparable, tmp_path_factory):
    """The results of one process and of two with the same settings; tests change only copies of their directories."""
    folder = tmp_path_factory.mktemp("processes")
    settings = {**comparable, "checkpoint_dir": str(folder / "saved")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        two, _ = launch("nproc", settings)
        return run("EchoMamba4Rec", "cycle", config_dict=settings), two


def test_two_nodes_of_torchrun_have_the_result_of_two_processes_and_the_first_alone_shows_it(
    comparable, one_and_two, second_address, tmp_path
):
    _, two = one_and_two
    script = [str(ROOT / "run_recbole.py"), "--model=EchoMamba4Rec", "--dataset=cycle", "--result_file=r.json"]
    start = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    start += ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    nodes = []
    for rank, address in enumerate(["127.0.0.1", second_address]):
        # machines share the data, but no folder to save in
        folder = tmp_path / str(rank)
        folder.mkdir()
        own = [f"--node-rank={rank}", f"--local-addr={address}"]
        command = [sys.executable, *start, *own, *script, *flags({**comparable, "checkpoint_dir": "saved"})]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        nodes.append(subprocess.Popen(command, cwd=folder, env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"}, **pipes))
    (shown, log), (shown_by_second, log_of_second) = (node.communicate() for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0], log + log_of_second
    result = json.loads((tmp_path / "0" / "r.json").read_text())
    for key in ("config_hash", "processes", "best_valid_result", "test_result"):
        assert result[key] == two[key]
    assert [entry["train_loss"] for entry in result["history"]] == [entry["train_loss"] for entry in two["history"]]
    assert "ndcg@10" in shown
    assert "loss" in log
    assert shown_by_second == ""
    assert "loss" not in log_of_second
    assert not list((tmp_path / "1").glob("saved/*"))


def test_two_processes_with_dropout_off_train_as_one(one_and_two):
    one, two = one_and_two
    assert len(one["history"]) == 2
    for a, b in zip(one["history"], two["history"], strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=0.02)


def test_the_number_of_processes_is_part_of_the_hash(one_and_two):
    one, two = one_and_two
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["config_hash"] != two["config_hash"]


def test_a_run_of_two_processes_can_be_resumed(one_and_two, tmp_path):
    _, first = one_and_two
    directory = shutil.copytree(first["run_directory"], tmp_path / "run")
    second, _ = launch("nproc", {"epochs": 3}, f"--resume={directory}")
    assert second["epochs"] == 3
    assert second["run_directory"] == str(directory)
    assert second["history"][:2] == first["history"]


def test_a_resumed_run_of_two_processes_draws_what_an_uninterrupted_one_draws(settings):
    # dropout and the items of the sampled loss are drawn in every process
    drawn = {**settings, "dropout_prob": 0.3, "loss_type": "SampledCE", "train_negatives": 4}
    whole, _ = launch("nproc", {**drawn, "epochs": 3})
    half, _ = launch("nproc", {**drawn, "epochs": 2})
    resumed, _ = launch("nproc", {"epochs": 3}, f"--resume={half['run_directory']}")
    losses = [[entry["train_loss"] for entry in result["history"]] for result in (whole, resumed)]
    assert losses[0] == losses[1]
    assert resumed["weights_digest"] == whole["weights_digest"]


def test_ctrl_c_ends_all_processes_and_says_how_to_resume(settings, tmp_path):
    command = [sys.executable, str(ROOT / "run_recbole.py"), "--model=EchoMamba4Rec", "--dataset=cycle"]
    command += ["--nproc=2", f"--port={free_port()}"]
    command += flags({**settings, "epochs": 10_000, "stopping_step": 10_000})
    file = tmp_path / "log.txt"
    with file.open("w") as log:
        process = subprocess.Popen(command, stderr=log, start_new_session=True)
    while " 2/10000  loss" not in file.read_text():
        assert process.poll() is None, file.read_text()
        time.sleep(0.1)
    # what a terminal does: every process of the group receives it
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(300) == 130
    (interruption,) = re.findall(r"interrupted after (\d+) epochs?; resume it with (--resume=.+)", file.read_text())
    epochs = int(interruption[0]) + 1  # it has trained more than the two epochs waited for, if the signal came late
    again, _ = launch("nproc", {"epochs": epochs}, interruption[1])
    assert again["epochs"] == epochs


def test_run_in_a_script_starts_its_processes_and_returns_the_result_of_the_first(settings, tmp_path):
    # a variant makes the result larger than a pipe holds
    given = {**settings, "epochs": 1, "variant": "x" * 100_000}
    code = f"""
import json
from recbole_echomamba import run
if __name__ == "__main__":
    result = run("Mamba4Rec", "cycle", config_dict={given!r}, nproc=2, port="{free_port()}")
    print(json.dumps([result["model"], result["processes"], len(result["variant"])]))
"""
    (tmp_path / "two.py").write_text(code)
    done = subprocess.run([sys.executable, "two.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["Mamba4Rec", 2, 100_000]


def test_an_error_in_several_processes_is_one_clear_line(settings, capsys):
    given = flags({**settings, "data_path": "/nowhere"})
    assert main(["run", "--model=Mamba4Rec", "--dataset=cycle", "--nproc=2", f"--port={free_port()}", *given]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "/nowhere/cycle/cycle.inter does not exist" in line


def test_no_process_at_all_is_refused(settings, capsys):
    assert main(["run", "--model=Mamba4Rec", "--dataset=cycle", "--nproc=0", *flags(settings)]) == 1
    assert "nproc must be at least 1" in capsys.readouterr().err


def test_torchrun_settings_are_read_from_its_environment(monkeypatch):
    # the second process on the third of four machines with two processes each
    for name, value in {"RANK": 5, "LOCAL_RANK": 1, "WORLD_SIZE": 8}.items():
        monkeypatch.setenv(name, str(value))
    assert torchrun_settings() == {"local_rank": 1, "offset": 4, "world_size": 8, "nproc": 8}
