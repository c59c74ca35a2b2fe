"""A run that is interrupted and resumed must be the run that was never interrupted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from recbole_echomamba import run
from recbole_echomamba.data import dataloader
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.signals import Interrupted
from recbole_echomamba.training import checkpoint
from recbole_echomamba.training.trainer import Trainer

ROOT = Path(__file__).parents[2]

MODELS = {
    "EchoMamba4Rec": {},
    "Mamba4Rec": {"loss_type": "BPR"},
    "BERT4Rec": {"n_heads": 2},
    "GRU4Rec": {"embedding_size": 16},
}


def load_last_weights(directory):
    return checkpoint.load_state(Path(directory) / "training_state.pt", "cpu")["model"]


def assert_same_run(found, expected):
    for key in ("test_result", "best_valid_result", "best_epoch", "epochs", "best_valid_score"):
        assert found[key] == expected[key], key
    assert [entry["train_loss"] for entry in found["history"]] == [entry["train_loss"] for entry in expected["history"]]
    weights = load_last_weights(expected["run_directory"])
    assert all(torch.equal(value, weights[name]) for name, value in load_last_weights(found["run_directory"]).items())


def resume_after(interruption):
    """Resume the run that the message of an interruption names."""
    return run(resume=str(interruption.value).split("--resume=")[1])


@pytest.mark.parametrize("model", MODELS)
def test_two_and_two_epochs_are_four_bit_for_bit(settings, model):
    settings = {**settings, **MODELS[model], "dropout_prob": 0.2}
    whole = run(model, "cycle", config_dict={**settings, "epochs": 4})
    half = run(model, "cycle", config_dict={**settings, "epochs": 2})
    found = run(resume=half["run_directory"], config_dict={"epochs": 4})
    assert found["run_directory"] == half["run_directory"]
    assert found["config_hash"] == whole["config_hash"]
    assert_same_run(found, whole)


def test_a_run_in_a_computed_order_is_resumed_bit_for_bit(settings, monkeypatch):
    listed = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1})
    monkeypatch.setattr(dataloader, "MAX_LISTED", 100)
    whole = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 2})
    half = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1})
    assert half["history"][0]["train_loss"] != listed["history"][0]["train_loss"]
    assert_same_run(run(resume=half["run_directory"], config_dict={"epochs": 2}), whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_between_batches_and_the_run_is_resumed_after_its_last_epoch(
    settings, uninterrupted, monkeypatch, number
):
    whole = uninterrupted("EchoMamba4Rec", epochs=3)
    original, calls = Trainer._check_nan, []

    def signalled(self, loss):
        calls.append(1)
        # in the second epoch of six batches
        if len(calls) == 10:
            os.kill(os.getpid(), number)
        return original(self, loss)

    monkeypatch.setattr(Trainer, "_check_nan", signalled)
    with pytest.raises(Interrupted, match=r"^interrupted after 1 epoch; resume it with --resume=") as interruption:
        run("EchoMamba4Rec", "cycle", config_dict={**settings, "epochs": 3})
    assert len(calls) == 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same_run(resume_after(interruption), whole)


def test_an_interruption_in_the_last_validation_is_not_lost(settings, uninterrupted, monkeypatch):
    whole = uninterrupted("Mamba4Rec", epochs=2)
    validate = Trainer._valid_epoch

    def signalled(self, *given, **named):
        if len(self.history) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return validate(self, *given, **named)

    monkeypatch.setattr(Trainer, "_valid_epoch", signalled)
    with pytest.raises(Interrupted) as interruption:
        run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 2})
    assert_same_run(resume_after(interruption), whole)


def test_an_interruption_of_the_test_says_how_to_resume(settings, uninterrupted, monkeypatch):
    whole = uninterrupted("Mamba4Rec", epochs=2)
    evaluate = Trainer._full_sort_batch_eval

    def signalled(self, batch):
        if "valid_score" in self.history[-1] and len(self.history) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(self, batch)

    monkeypatch.setattr(Trainer, "_full_sort_batch_eval", signalled)
    with pytest.raises(Interrupted, match=r"^interrupted after 2 epochs; resume it with --resume=") as interruption:
        run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 2})
    monkeypatch.undo()
    assert_same_run(resume_after(interruption), whole)


def test_an_interruption_before_the_first_epoch_ends_can_be_resumed_too(settings, uninterrupted, monkeypatch):
    whole = uninterrupted("Mamba4Rec", epochs=2)
    monkeypatch.setattr(Trainer, "_check_nan", lambda self, loss: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted) as interruption:
        run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 2})
    monkeypatch.undo()
    assert_same_run(resume_after(interruption), whole)


def test_an_interrupted_run_that_is_not_saved_does_not_offer_to_be_resumed(settings, monkeypatch):
    monkeypatch.setattr(Trainer, "_check_nan", lambda self, loss: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="not saved and cannot be resumed"):
        run("Mamba4Rec", "cycle", config_dict=settings, saved=False)


def test_a_killed_run_is_resumed_after_its_last_epoch(settings, uninterrupted, tmp_path):
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
    (directory,) = (tmp_path / "saved").glob("EchoMamba4Rec-*")
    assert_same_run(run(resume=directory), uninterrupted("EchoMamba4Rec", epochs=3))


def test_a_finished_run_is_tested_again_and_not_trained(uninterrupted, tmp_path):
    done = uninterrupted("Mamba4Rec", epochs=2)
    directory = shutil.copytree(done["run_directory"], tmp_path / "run")
    assert_same_run(run(resume=directory), done)


def test_early_stopping_is_remembered(settings):
    given = {**settings, "learning_rate": 0.5, "stopping_step": 1, "epochs": 20}
    whole = run("Mamba4Rec", "cycle", config_dict=given)
    assert whole["epochs"] < 20
    assert_same_run(run(resume=whole["run_directory"], config_dict={"epochs": 30}), whole)


@pytest.mark.parametrize("changed", [{"learning_rate": 1}, {"seed": 1}, {"hidden_size": 8}])
def test_settings_of_a_run_that_is_resumed_cannot_change(run_directory, changed):
    (key,) = changed
    with pytest.raises(ValueError, match=f"epochs and stopping_step can change, {key} cannot"):
        run(resume=run_directory, config_dict=changed)


def test_config_files_cannot_change_a_run_that_is_resumed(run_directory):
    with pytest.raises(ValueError, match="config_files cannot"):
        run(resume=run_directory, config_file_list=["other.yaml"])


@pytest.mark.parametrize(
    ("model", "dataset", "words"),
    [("SASRec", None, "a run of Mamba4Rec, not of SASRec"), (None, "ml-100k", "a run on cycle, not on ml-100k")],
)
def test_a_run_is_resumed_only_as_what_it_is(run_directory, model, dataset, words):
    with pytest.raises(ValueError, match=words):
        run(model, dataset, resume=run_directory)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.yaml", "a: [1", "config.yaml is damaged"),
        ("config.yaml", "", "config.yaml is damaged"),
        ("training_state.pt", "x", "training_state.pt is damaged or has been changed"),
        ("training_state.pt", None, "no training state at"),
    ],
)
def test_a_damaged_run_is_refused_by_file(run_directory, file, content, words):
    if content is None:
        (run_directory / file).unlink()
    else:
        (run_directory / file).write_text(content)
    with pytest.raises(ValueError, match=words):
        run(resume=run_directory, config_dict={"epochs": 2})


def test_a_file_that_is_no_training_state_is_refused(run_directory):
    checkpoint.save_state(run_directory / "training_state.pt", {"epoch": 0})
    with pytest.raises(ValueError, match="not a training state of Mamba4Rec"):
        run(resume=run_directory, config_dict={"epochs": 2})


def test_changed_data_are_refused(run_directory, data_path, tmp_path):
    shutil.copytree(data_path / "cycle", tmp_path / "changed" / "cycle")
    with open(tmp_path / "changed" / "cycle" / "cycle.inter", "a") as file:
        file.write("u0\ti11\t99\n")
    with pytest.raises(ValueError, match="data have changed"):
        run(resume=run_directory, config_dict={"epochs": 2, "data_path": str(tmp_path / "changed")})


def test_a_directory_in_use_by_another_process_is_refused(run_directory):
    code = f"""
import sys
from recbole_echomamba.training.run_directory import lock_run_directory
lock = lock_run_directory({str(run_directory)!r})
print("locked", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match="in use by another process"):
            run(resume=run_directory, config_dict={"epochs": 2})
    finally:
        other.kill()
        other.wait()
    assert run(resume=run_directory, config_dict={"epochs": 2})["epochs"] == 2


def test_ctrl_c_on_the_command_line_is_one_line_and_code_130(settings, tmp_path):
    flags = [f"--{key}={value}" for key, value in {**settings, "epochs": 10_000, "stopping_step": 10_000}.items()]
    command = [sys.executable, str(ROOT / "run_recbole.py"), "--model=Mamba4Rec", "--dataset=cycle", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    # the weights of the first epoch
    while not list(tmp_path.glob("saved/*/model.safetensors")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("interrupted after ")
    assert "Traceback" not in errors


def test_train_on_all_trains_on_every_interaction_and_tests_nothing(settings):
    result = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 2, "train_on": "all"})
    assert result["test_result"] == result["best_valid_result"] == {}
    assert result["epochs"] == 2 == result["best_epoch"] + 1
    assert (Path(result["run_directory"]) / "model.safetensors").exists()
    assert not (Path(result["run_directory"]) / "test_ranks.parquet").exists()


def test_a_run_interrupted_before_its_first_save_starts_from_the_beginning(uninterrupted, run_directory):
    for name in ("training_state.pt", "model.safetensors", "result.json", "test_ranks.parquet"):
        (run_directory / name).unlink()
    resumed = run(resume=run_directory)
    assert resumed["run_directory"] == str(run_directory)
    assert resumed["test_result"] == uninterrupted()["test_result"]
    assert resumed["weights_digest"] == uninterrupted()["weights_digest"]


def test_a_run_cannot_be_cut_short_after_it_has_trained(run_directory):
    run(resume=run_directory, config_dict={"epochs": 2})
    with pytest.raises(UserError, match="has trained 2 epochs already"):
        run(resume=run_directory, config_dict={"epochs": 1})
