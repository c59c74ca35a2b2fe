"""What a run shows: what is run, a line an epoch, and what training says when it ends early."""

import logging
import re

import pytest

from recbole_echomamba import Config, run
from recbole_echomamba.system.terminal import PROGRESS
from recbole_echomamba.training.progress import describe_changes


@pytest.fixture
def shown(caplog, monkeypatch):
    """``shown()`` returns the lines that are shown by default and clears them."""
    monkeypatch.setenv("COLUMNS", "100")
    caplog.set_level(logging.INFO)

    def read():
        text = "\n".join(record.getMessage() for record in caplog.records if record.name == PROGRESS.name)
        caplog.clear()
        return text.splitlines()

    return read


def test_a_run_shows_what_is_run_in_ten_lines_and_a_line_an_epoch(settings, shown):
    result = run("Mamba4Rec", "cycle", config_dict=settings)
    lines = shown()
    *summary, first, last = lines
    assert len(summary) <= 10
    assert summary[0] == "Mamba4Rec on cycle, seed 2020"
    text = "\n".join(summary)
    for part in ("48 users, 12 items, 528 interactions", "384 to train", "hidden_size 16 (default 64)", "CPU, "):
        assert part in text
    assert f"{result['parameters']:,} parameters" in text
    assert result["run_directory"] in text
    for number, line in enumerate((first, last), start=1):
        entry = result["history"][number - 1]
        # 384 samples in batches of 64
        assert line.startswith(
            f"epoch {number}/2  loss {entry['train_loss'] / 6:.4f}  ndcg@10 {entry['valid_score']:.4f}"
        )
    assert f"best {result['best_valid_score']:.4f} (epoch {result['best_epoch'] + 1})" in last
    assert re.search(r" s  at most .* s left$", first)
    assert "left" not in last


def test_a_resumed_run_shows_the_new_epochs_only_and_how_many_are_done(settings, shown):
    half = run("Mamba4Rec", "cycle", config_dict=settings)
    shown()
    run(resume=half["run_directory"], config_dict={"epochs": 3})
    lines = shown()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["3/3"]
    assert "  resumed   after epoch 2" in lines
    assert f"  kept in   {half['run_directory']}" in lines


def test_training_that_stops_early_says_why(settings, shown):
    run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 30, "stopping_step": 0, "learning_rate": 0.5})
    last = shown()[-1]
    assert last.startswith("epoch ")
    assert last.endswith("stopped: 1 validation without a better one")


def test_training_without_validation_shows_losses(settings, shown):
    run("Mamba4Rec", "cycle", config_dict={**settings, "train_on": "all"})
    lines = shown()
    assert re.fullmatch(r"epoch 2/2  loss \d+\.\d{4}  \d+\.\d s", lines[-1])
    [samples] = [line for line in lines if line.startswith("  samples ")]
    assert re.fullmatch(r"  samples   \d+ to train", samples)


def test_only_settings_that_differ_from_the_defaults_are_named():
    config = Config("Mamba4Rec", "ml-100k", config_dict={"epochs": 300, "hidden_size": 32, "topk": [5, 10, 20]})
    assert describe_changes(config) == "hidden_size 32 (default 64)"
    assert describe_changes(Config("Mamba4Rec", "ml-100k")) == "the defaults"


@pytest.mark.parametrize(("state", "kept"), [("INFO", True), ("ERROR", False)])
def test_the_log_file_has_the_whole_down_to_the_level_of_state(settings, tmp_path, caplog, state, kept):
    caplog.set_level(logging.INFO)
    run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1, "state": state}, saved=False)
    text = "".join(log.read_text() for log in tmp_path.glob("log/Mamba4Rec/Mamba4Rec-cycle-*.log"))
    for part in ("learning_rate = 0.001", "Mamba4Rec(", "validation after epoch 1", "epoch 1/1"):
        assert (part in text) == kept


def test_a_resumed_run_names_the_settings_that_were_given_when_it_began():
    given = {"hidden_size": 32, "eval_args": {"mode": "uni100"}}
    for first in (
        {},
        given,
        {"loss_type": "BPR"},
        {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "uni9"}},
    ):
        begun = Config("Mamba4Rec", "ml-100k", config_dict=first)
        resumed = Config("Mamba4Rec", "ml-100k", config_dict=begun.settings)
        named = [text for key in first for text in [key] if key in describe_changes(resumed)]
        assert named == list(first)
        assert describe_changes(resumed).count("(default ") == len(first)
