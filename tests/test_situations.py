"""Our models in the situations that RecBole tests its own in: losses, negatives, evaluations, lengths, switches."""

import contextlib
import sys
import types

import pytest
import torch

from recbole_echomamba import Config, Mamba4Rec, get_model, load_run, run
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.training.trainer import Trainer

OURS = ["EchoMamba4Rec", "Mamba4Rec"]
UNIFORM = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
EVALUATION = {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"}
SITUATIONS = {
    "bpr": {"loss_type": "BPR"},
    "popular negatives": {"loss_type": "BPR", "train_neg_sample_args": {**UNIFORM, "distribution": "popularity"}},
    "dynamic negatives": {
        "loss_type": "BPR",
        "train_neg_sample_args": {**UNIFORM, "dynamic": True, "candidate_num": 2},
    },
    "sampled evaluation": {"eval_args": {**EVALUATION, "mode": "uni50"}},
    "popular evaluation": {"eval_args": {**EVALUATION, "mode": "pop50"}},
    "ratio split": {"eval_args": {**EVALUATION, "split": {"RS": [0.8, 0.1, 0.1]}}},
    "ratio split over all": {"eval_args": {**EVALUATION, "split": {"RS": [0.8, 0.1, 0.1]}, "group_by": None}},
    "length three": {"MAX_ITEM_LIST_LENGTH": 3},
    "length one": {"MAX_ITEM_LIST_LENGTH": 1},
    "every metric": {"metrics": ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP", "ItemCoverage", "GiniIndex"]},
    "two layers": {"num_layers": 2},
    "one thread of workers": {"worker": 1},
}


def assert_learned(result):
    """Check that the loss falls, and that every metric is there after validation and test."""
    losses = [entry["train_loss"] for entry in result["history"]]
    assert losses[1] < losses[0]
    names = {f"{metric.lower()}@{k}" for metric in result["config"]["metrics"] for k in result["config"]["topk"]}
    assert set(result["best_valid_result"]) == set(result["test_result"]) == names
    assert max(result["test_result"].values()) > 0


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", OURS)
def test_our_models_run_in_every_situation_of_recboles_tests(settings, name, situation):
    result = run(name, "cycle", config_dict={**settings, **SITUATIONS[situation], "learning_rate": 0.01})
    assert_learned(result)


@pytest.mark.parametrize(("mode", "empty"), [("valid_only", "test_result"), ("test_only", "best_valid_result")])
def test_a_split_without_one_of_its_parts_leaves_that_result_empty(settings, mode, empty):
    result = run("Mamba4Rec", "cycle", config_dict={**settings, "eval_args": {**EVALUATION, "split": {"LS": mode}}})
    assert result[empty] == {}
    assert len(result["test_result"]) + len(result["best_valid_result"]) == 6
    assert result["epochs"] == 2


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec", "BERT4Rec", "Caser", "NARM", "FPMC", "GRU4RecF"])
def test_recboles_models_run_like_ours(settings, name):
    changed = {"n_heads": 2, "embedding_size": 16, "inner_size": 16, "learning_rate": 0.01}
    if name == "GRU4RecF":
        changed["selected_features"] = ["item_id"]
    assert_learned(run(name, "cycle", config_dict={**settings, **changed}))


@pytest.mark.parametrize("name", OURS)
def test_mixed_precision_trains_as_well_as_full_precision(settings, name):
    changed = {**settings, "epochs": 30, "learning_rate": 0.02, "topk": [1], "valid_metric": "NDCG@1"}
    assert run(name, "cycle", config_dict={**changed, "enable_amp": True})["test_result"]["hit@1"] > 0.95


def test_gradients_are_clipped(settings, monkeypatch):
    norms = []
    original = torch.optim.Adam.step

    def step(self, *args, **kwargs):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    run("EchoMamba4Rec", "cycle", config_dict={**settings, "epochs": 1}, saved=False)
    free = max(norms)
    norms.clear()
    run(
        "EchoMamba4Rec",
        "cycle",
        config_dict={**settings, "epochs": 1, "clip_grad_norm": {"max_norm": 0.01}},
        saved=False,
    )
    assert max(norms) <= 0.01 * (1 + 1e-4) < free


@pytest.mark.parametrize("learner", ["adamw", "sgd", "adagrad", "rmsprop"])
def test_every_learner_of_recbole_trains(settings, learner):
    result = run(
        "EchoMamba4Rec", "cycle", config_dict={**settings, "learner": learner, "learning_rate": 0.001}, saved=False
    )
    losses = [entry["train_loss"] for entry in result["history"]]
    assert losses[1] < losses[0]


def test_weights_and_biases_gets_the_metrics(settings, monkeypatch):
    logged, fake = [], types.ModuleType("wandb")
    fake.run = None
    fake.init = lambda **given: setattr(fake, "run", types.SimpleNamespace(summary={}, **given))
    fake.define_metric = lambda *given, **named: None
    fake.log = lambda given, **named: logged.append(given)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.MonkeyPatch.context() as without:
        without.delitem(sys.modules, "wandb")
        without.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match="pip install wandb"):
            Config("Mamba4Rec", "cycle", config_dict={**settings, "log_wandb": True})
    run("Mamba4Rec", "cycle", config_dict={**settings, "log_wandb": True, "wandb_project": "p"}, saved=False)
    assert {"train/train_loss", "valid/ndcg@10"} <= {name for entry in logged for name in entry}
    assert "eval/ndcg@10" in fake.run.summary
    assert fake.run.project == "p"


def test_mlflow_gets_settings_and_metrics_and_its_failure_costs_nothing(settings, monkeypatch, caplog):
    logged, fake = {}, types.ModuleType("mlflow")
    fake.start_run = lambda **given: contextlib.nullcontext()
    fake.active_run = lambda: None
    fake.set_tags = fake.log_params = logged.update
    fake.log_metric = lambda name, value, step: logged.update({f"{name}, epoch {step}": value})
    fake.log_metrics = lambda metrics, step="end": logged.update({f"{name}, {step}": v for name, v in metrics.items()})
    with pytest.MonkeyPatch.context() as without:
        without.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r"log_mlflow needs MLflow: pip install 'recbole_echomamba\[mlflow\]'"):
            Config("Mamba4Rec", "cycle", config_dict={**settings, "log_mlflow": True})
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    result = run("Mamba4Rec", "cycle", config_dict={**settings, "log_mlflow": True})
    assert logged["config_hash"] == result["config_hash"]
    assert logged["hidden_size"] == settings["hidden_size"]
    assert logged["train_loss, epoch 0"] == result["history"][0]["train_loss"]
    assert logged["valid/ndcg_at_10, 0"] == result["history"][0]["valid_result"]["ndcg@10"]
    assert logged["test/ndcg_at_10, end"] == result["test_result"]["ndcg@10"]
    fake.start_run = None
    again = run("Mamba4Rec", "cycle", config_dict={**settings, "log_mlflow": True})
    assert again["test_result"] == result["test_result"]
    assert "the run is complete, but it could not be logged to MLflow" in caplog.text


def test_nan_losses_stop_training_with_a_clear_error(settings, monkeypatch):
    monkeypatch.setattr(
        get_model("Mamba4Rec"),
        "calculate_loss",
        lambda self, interaction: self.item_embedding.weight.sum() * float("nan"),
    )
    with pytest.raises(
        UserError, match="training loss of Mamba4Rec is NaN in epoch 1; lower learning_rate or set clip"
    ):
        run("Mamba4Rec", "cycle", config_dict=settings)


def test_a_model_class_without_a_registered_name_runs_and_reloads(settings):
    class Custom(Mamba4Rec):
        pass

    result = run(Custom, "cycle", config_dict=settings)
    config, model, _, _, _, test = load_run(result["run_directory"], Custom)
    assert Trainer(config, model).evaluate(test, load_best_model=False) == result["test_result"]
