"""A run that is interrupted and goes on must be the run that was never interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from recbole_echomamba import run
from recbole_echomamba.system.signals import Interrupted, deferred_signals
from recbole_echomamba.training import checkpoint
from tests.conftest import write_inter

MODELS = {
    "EchoMamba4Rec": {},
    "Mamba4Rec": {"loss_type": "BPR"},
    "BERT4Rec": {"n_heads": 2},
    "GRU4Rec": {"embedding_size": 16},
}


def weights(directory):
    return checkpoint.load_state(Path(directory) / checkpoint.STATE, "cpu")["model"]


def assert_same_run(found, expected):
    for key in ("test_result", "best_valid_result", "best_epoch", "epochs", "best_valid_score"):
        assert found[key] == expected[key], key
    assert [entry["train_loss"] for entry in found["history"]] == [entry["train_loss"] for entry in expected["history"]]
    whole = weights(expected["run_directory"])
    assert all(torch.equal(value, whole[name]) for name, value in weights(found["run_directory"]).items())


@pytest.mark.parametrize("model", MODELS)
def test_two_and_two_epochs_are_four_bit_for_bit(settings, model):
    settings = {**settings, **MODELS[model], "dropout_prob": 0.2}
    whole = run(model, "cycle", config_dict={**settings, "epochs": 4})
    half = run(model, "cycle", config_dict={**settings, "epochs": 2})
    found = run(resume=half["run_directory"], config_dict={"epochs": 4})
    assert found["run_directory"] == half["run_directory"]
    assert found["config_hash"] == whole["config_hash"]
    assert_same_run(found, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_between_batches_and_the_run_goes_on_from_its_last_epoch(settings, monkeypatch, number):
    from recbole_echomamba.training.trainer import Trainer

    whole = run("EchoMamba4Rec", "cycle", config_dict={**settings, "epochs": 3})
    original, calls = Trainer._check_nan, []

    def signalled(self, loss):
        calls.append(1)
        if len(calls) == 10:  # in the second epoch of six batches
            os.kill(os.getpid(), number)
        return original(self, loss)

    monkeypatch.setattr(Trainer, "_check_nan", signalled)
    with pytest.raises(Interrupted) as stopped:
        run("EchoMamba4Rec", "cycle", config_dict={**settings, "epochs": 3})
    message, directory = str(stopped.value).split("--resume=")
    assert message == "interrupted after 1 epochs; go on with "
    assert len(calls) == 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same_run(run(resume=directory), whole)


def test_an_interruption_in_the_last_validation_is_not_lost(settings, monkeypatch):
    from recbole_echomamba.training.trainer import Trainer

    whole = run("Mamba4Rec", "cycle", config_dict=settings)
    validate = Trainer._valid_epoch

    def signalled(self, *given, **named):
        if len(self.history) == settings["epochs"]:
            os.kill(os.getpid(), signal.SIGINT)
        return validate(self, *given, **named)

    monkeypatch.setattr(Trainer, "_valid_epoch", signalled)
    with pytest.raises(Interrupted) as stopped:
        run("Mamba4Rec", "cycle", config_dict=settings)
    assert_same_run(run(resume=str(stopped.value).split("--resume=")[1]), whole)


def test_an_interruption_before_the_first_epoch_ends_can_be_resumed_too(settings, monkeypatch):
    from recbole_echomamba.training.trainer import Trainer

    whole = run("Mamba4Rec", "cycle", config_dict=settings)
    monkeypatch.setattr(Trainer, "_check_nan", lambda self, loss: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted) as stopped:
        run("Mamba4Rec", "cycle", config_dict=settings)
    monkeypatch.undo()
    assert_same_run(run(resume=str(stopped.value).split("--resume=")[1]), whole)


def test_a_killed_run_goes_on_from_its_last_epoch(settings, tmp_path):
    code = f"""
import os, signal
from recbole_echomamba import run
from recbole_echomamba.training.trainer import Trainer
original = Trainer._valid_epoch
def killed(self, *args, **kwargs):
    if len(self.history) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *args, **kwargs)
Trainer._valid_epoch = killed
run("EchoMamba4Rec", "cycle", config_dict={ {**settings, "epochs": 3}!r})
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -signal.SIGKILL
    (directory,) = (tmp_path / "saved").iterdir()
    assert_same_run(run(resume=directory), run("EchoMamba4Rec", "cycle", config_dict={**settings, "epochs": 3}))


def test_a_finished_run_is_tested_again_and_not_trained(settings):
    done = run("Mamba4Rec", "cycle", config_dict=settings)
    assert_same_run(run(resume=done["run_directory"]), done)


def test_early_stopping_is_remembered(settings):
    given = {**settings, "learning_rate": 0.5, "stopping_step": 1, "epochs": 20}
    whole = run("Mamba4Rec", "cycle", config_dict=given)
    assert whole["epochs"] < 20
    assert_same_run(run(resume=whole["run_directory"], config_dict={"epochs": 30}), whole)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"learning_rate": 1}, "learning_rate cannot"),
        ({"seed": 1}, "seed cannot"),
        ({"hidden_size": 8}, "hidden_size cannot"),
    ],
)
def test_settings_of_a_run_that_goes_on_cannot_change(settings, changed, words):
    done = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1})
    with pytest.raises(ValueError, match=words):
        run(resume=done["run_directory"], config_dict=changed)
    with pytest.raises(ValueError, match="a run of Mamba4Rec on cycle, not of SASRec"):
        run("SASRec", resume=done["run_directory"])


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.yaml", "a: [1", "config.yaml is damaged"),
        ("config.yaml", "", "config.yaml is damaged"),
        ("training_state.pt", "x", "training_state.pt is truncated or damaged"),
        ("training_state.pt", None, "no training state at"),
    ],
)
def test_a_damaged_run_is_refused_by_file(settings, file, content, words):
    place = Path(run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1})["run_directory"]) / file
    place.unlink() if content is None else place.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        run(resume=place.parent, config_dict={"epochs": 2})


def test_changed_data_are_refused(settings, tmp_path):
    (tmp_path / "mine").mkdir()
    rows = [(f"u{user}", f"i{(user + step) % 12}", str(step)) for user in range(20) for step in range(8)]
    write_inter(tmp_path / "mine" / "mine.inter", rows)
    done = run("Mamba4Rec", "mine", config_dict={**settings, "data_path": str(tmp_path), "epochs": 1})
    write_inter(tmp_path / "mine" / "mine.inter", rows[1:])
    with pytest.raises(ValueError, match="data have changed"):
        run(resume=done["run_directory"], config_dict={"epochs": 2})


def test_a_directory_in_use_by_another_process_is_refused(settings):
    done = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1})
    code = f"""
import time
from recbole_echomamba.training.checkpoint import claim
lock = claim({done["run_directory"]!r})
print("held", flush=True)
time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="in use by another process"):
            run(resume=done["run_directory"], config_dict={"epochs": 2})
    finally:
        other.kill()
        other.wait()
    assert run(resume=done["run_directory"], config_dict={"epochs": 2})["epochs"] == 2


def test_ctrl_c_at_the_door_is_one_line_and_code_130(settings, tmp_path):
    root = Path(__file__).parents[2]
    flags = [f"--{key}={value}" for key, value in {**settings, "epochs": 10_000, "stopping_step": 10_000}.items()]
    command = [sys.executable, str(root / "run_recbole.py"), "--model=Mamba4Rec", "--dataset=cycle", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("saved/*/model.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("interrupted after ")
    assert "Traceback" not in errors


def test_a_second_signal_acts_as_ever():
    with pytest.raises(KeyboardInterrupt), deferred_signals() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_train_on_all_trains_on_every_interaction_and_tests_nothing(settings):
    result = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 2, "train_on": "all"})
    assert result["test_result"] == result["best_valid_result"] == {}
    assert result["epochs"] == 2 == result["best_epoch"] + 1
    assert (Path(result["run_directory"]) / "model.safetensors").exists()
    assert not (Path(result["run_directory"]) / "test_ranks.parquet").exists()


def test_a_process_that_was_started_to_ignore_a_signal_goes_on_ignoring_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_signals() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            assert not asked()
    finally:
        signal.signal(signal.SIGINT, before)
