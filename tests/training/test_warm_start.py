"""A run begins with the weights, ids and moments of another one, on data that may have grown."""

import random

import pytest
import torch

from recbole_echomamba import load_run, recommend, run
from recbole_echomamba.cli import main
from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.training.checkpoint import load_state
from recbole_echomamba.training.trainer import Trainer
from tests.conftest import ITEMS, ROWS, SMALL, write_inter

NEW_ITEMS = ["a new item", "another"]


def write_days(folder, with_new):
    """Write the dataset ``log``: the circle of the other tests; later, every user goes on to two new items."""
    (folder / "log").mkdir(parents=True, exist_ok=True)
    rows = list(ROWS)
    if with_new:
        users = dict.fromkeys(row[0] for row in ROWS)
        rows += [(user, item, str(100 + step)) for user in users for step, item in enumerate(NEW_ITEMS)]
        rows += [("new user", f"i{step}", str(step)) for step in range(8)]
    random.Random(5).shuffle(rows)
    write_inter(folder / "log" / "log.inter", rows)


@pytest.fixture(params=["adam", "lazy_adam"])
def first(request, tmp_path, settings):
    """The result of a run, and the settings of it; afterwards the data have grown."""
    write_days(tmp_path / "data", with_new=False)
    changed = {**settings, "data_path": str(tmp_path / "data"), "learner": request.param, "epochs": 3}
    if request.param == "lazy_adam":
        changed |= {"loss_type": "SampledCE", "train_negatives": 6}
    result = run("Mamba4Rec", "log", config_dict=changed)
    write_days(tmp_path / "data", with_new=True)
    return result


def stop_before_training(monkeypatch):
    states = []

    def record(trainer, *arguments, **more):
        moments = {name: trainer.optimizer.state[value] for name, value in trainer.model.named_parameters()}
        states.append((trainer.model, moments))
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", record)
    return states


def test_known_ids_keep_their_rows_and_new_ones_get_rows_after_them(first, monkeypatch):
    old = load_state(f"{first['run_directory']}/training_state.pt", "cpu")
    _, trained, *_ = load_run(first["run_directory"])
    states = stop_before_training(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(continue_from=first["run_directory"])
    ((model, moments),) = states
    weight, old_weight = model.item_embedding.weight, trained.item_embedding.weight
    assert len(weight) == len(old_weight) + len(NEW_ITEMS) == ITEMS + 3
    assert torch.equal(weight[: len(old_weight)], old_weight)
    assert weight[len(old_weight) :].abs().min() > 0
    others = {name: value for name, value in model.state_dict().items() if name != "item_embedding.weight"}
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in others.items())
    names = [name for name, _ in trained.named_parameters()]
    for number, kept in old["optimizer"]["state"].items():
        found = moments[names[number]]
        assert found["step"] == kept["step"]
        assert torch.equal(found["exp_avg"][: len(kept["exp_avg"])], kept["exp_avg"])
    assert not moments["item_embedding.weight"]["exp_avg"][len(old_weight) :].any()


def test_a_continued_run_learns_the_new_items_and_resumes_exactly(first):
    changed = {"epochs": 4, "learning_rate": 0.02}
    whole = run(continue_from=first["run_directory"], config_dict=changed)
    assert set(recommend(whole["run_directory"], users=["u1"], topk=ITEMS + 2)["item_id"]) >= set(NEW_ITEMS)
    half = run(continue_from=first["run_directory"], config_dict={**changed, "epochs": 2})
    resumed = run(resume=half["run_directory"], config_dict={"epochs": 4})
    assert resumed["test_result"] == whole["test_result"]
    assert resumed["weights_digest"] == whole["weights_digest"]


def test_the_command_continues(first, capsys):
    assert main(["run", f"--continue={first['run_directory']}", "--epochs=1"]) == 0
    assert "best after 1 of 1 epoch," in capsys.readouterr().out


def test_other_sizes_and_other_models_are_refused(first):
    with pytest.raises(UserError, match=r"item_embedding\.weight of .* has shape .*; keep the sizes of the model"):
        run(continue_from=first["run_directory"], config_dict={"hidden_size": 24})
    with pytest.raises(UserError, match="has other parameters than GRU4Rec"):
        settings = {**SMALL, "data_path": first["config"]["data_path"], "init_from": first["run_directory"]}
        run("GRU4Rec", "log", config_dict={**settings, "embedding_size": 16})
    with pytest.raises(MissingFileError, match="nowhere"):
        run(continue_from="nowhere")
