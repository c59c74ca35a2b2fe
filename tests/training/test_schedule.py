"""The learning rate follows its schedule, and a resumed run follows the same one."""

import pytest
import torch

from recbole_echomamba import Config, run
from recbole_echomamba.training.schedule import schedule_learning_rate
from recbole_echomamba.training.trainer import Trainer


def rates(settings, steps, **changed):
    config = Config("Mamba4Rec", "cycle", config_dict={**settings, "learning_rate": 1.0, **changed})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule_learning_rate(config, optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return scheduler, found


def test_without_a_schedule_there_is_none(settings):
    scheduler, found = rates(settings, 3)
    assert scheduler is None
    assert found == [1.0, 1.0, 1.0]


def test_a_cosine_rises_over_the_warm_up_and_falls_to_zero(settings):
    _, found = rates(settings, 100, lr_schedule="cosine", lr_warmup=0.1)
    assert found[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert found[10] == 1.0
    assert found[55] == pytest.approx(0.5)
    assert 0 < found[99] < 0.001
    assert found[10:] == sorted(found[10:], reverse=True)


@pytest.fixture
def scheduled(settings):
    return {
        **settings,
        "train_positions": "all",
        "epochs": 3,
        "lr_schedule": "cosine",
        "lr_warmup": 0.1,
        "dropout_prob": 0.2,
    }


def test_a_resumed_run_has_the_rates_orders_and_weights_of_an_uninterrupted_one(scheduled, monkeypatch, tmp_path):
    whole = run("Mamba4Rec", "cycle", config_dict={**scheduled, "checkpoint_dir": str(tmp_path / "whole")})
    original = Trainer._train_epoch

    def interrupted(self, train_data, epoch_idx, *rest, **more):
        if epoch_idx == 2:
            raise KeyboardInterrupt
        return original(self, train_data, epoch_idx, *rest, **more)

    monkeypatch.setattr(Trainer, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("Mamba4Rec", "cycle", config_dict=scheduled)
    monkeypatch.setattr(Trainer, "_train_epoch", original)
    (directory,) = (tmp_path / "saved").glob("Mamba4Rec-*")
    resumed = run(resume=directory)
    losses = [[entry["train_loss"] for entry in result["history"]] for result in (whole, resumed)]
    assert losses[0] == losses[1]
    assert resumed["test_result"] == whole["test_result"]


def test_the_epochs_of_a_schedule_cannot_change(scheduled):
    result = run("Mamba4Rec", "cycle", config_dict=scheduled)
    with pytest.raises(ValueError, match="follows a schedule over its 3 epochs"):
        run(resume=result["run_directory"], config_dict={"epochs": 5})
