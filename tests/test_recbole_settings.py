"""RecBole's settings, and its models that need more than its trainer gives every model, from training to recommendation."""

import re
from pathlib import Path

import pytest

from benchmarks.recbole_settings import Probe, judge, list_settings
from benchmarks.recbole_settings_probes import PROBES
from recbole_echomamba import run
from recbole_echomamba.recommendation import recommend
from recbole_echomamba.system.errors import UserError
from tests.conftest import USERS

SHORT = {"epochs": 1, "topk": [5]}


@pytest.mark.parametrize("model", ["SASRecCPR", "GRU4RecCPR"])
def test_the_cpr_models_train_and_recommend(settings, model):
    changed = {**SHORT, "valid_metric": "NDCG@5", "reranker_CAN_NUM": 10}
    result = run(model, "cycle", config_dict={**settings, **changed})
    assert result["test_result"].keys() == {"hit@5", "ndcg@5", "mrr@5"}
    assert recommend(result["run_directory"], topk=1)["user_id"].nunique() == USERS


@pytest.mark.parametrize("model", ["DIN", "DIEN"])
def test_din_and_dien_are_scored_by_auc_and_recommend(settings, model):
    result = run(model, "cycle", config_dict={**settings, **SHORT, "eval_args": {"mode": "uni5"}})
    assert result["test_result"].keys() == {"auc", "logloss"}
    assert 0 < result["test_result"]["auc"] < 1
    assert recommend(result["run_directory"], topk=1)["user_id"].nunique() == USERS


def test_the_smaller_error_is_the_better_one(settings):
    changed = {"metrics": ["RMSE"], "valid_metric": "RMSE", "eval_args": {"mode": "uni5"}, "epochs": 3}
    result = run("SASRec", "cycle", config_dict={**settings, **changed})
    scores = [entry["valid_score"] for entry in result["history"]]
    assert result["best_valid_score"] == min(scores)
    assert scores[result["best_epoch"]] == min(scores)


@pytest.mark.parametrize(
    ("model", "changed", "words"),
    [
        ("CORE", {"loss_type": "BPR"}, "CORE cannot be built with these settings: .*loss_type"),
        ("GCSAN", {"weight": 2}, "weight must be a number between 0 and 1"),
        ("SASRec", {"learner": "sparse_adam"}, "needs sparse gradients, which item_embedding.weight has not"),
    ],
)
def test_what_a_model_of_recbole_refuses_is_said_before_training(settings, tmp_path, model, changed, words):
    with pytest.raises(UserError, match=words):
        run(model, "cycle", config_dict={**settings, **changed})
    assert not (tmp_path / "saved").exists()


def test_every_setting_of_recboles_reference_is_tried_and_none_is_taken_in_silence():
    settings = list_settings()
    assert len(settings) > 75
    assert set(PROBES) == set(settings)
    table = (Path(__file__).parent.parent / "docs" / "recbole-settings.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| (works|refused|no effect) \| .* \|$", table, re.MULTILINE)
    assert [setting for setting, _ in rows] == [setting for setting in settings for _ in PROBES[setting]]


@pytest.mark.parametrize(
    ("setting", "probe", "verdict"),
    [
        ("MAX_ITEM_LIST_LENGTH", PROBES["MAX_ITEM_LIST_LENGTH"][0], "works"),
        ("MAX_ITEM_LIST_LENGTH", PROBES["MAX_ITEM_LIST_LENGTH"][1], "refused"),
        ("require_pow", PROBES["require_pow"][0], "no effect"),
        ("gpu_id", Probe(""), "SILENT"),
    ],
)
def test_a_setting_is_judged_by_what_it_changes(setting, probe, verdict):
    assert judge(setting, probe)[0] == verdict


def test_a_number_that_a_model_embeds_must_be_declared(settings, data_path, tmp_path):
    folder = tmp_path / "priced" / "cycle"
    folder.mkdir(parents=True)
    (folder / "cycle.inter").write_text((data_path / "cycle" / "cycle.inter").read_text())
    (folder / "cycle.item").write_text("item_id:token\tprice:float\n" + "".join(f"i{n}\t{n}\n" for n in range(12)))
    load_col = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "price"]}
    changed = {"data_path": str(folder.parent), "load_col": load_col, "selected_features": ["price"]}
    with pytest.raises(
        UserError, match="embeds the item column 'price', which holds numbers; add it to numerical_features"
    ):
        run("SASRecF", "cycle", config_dict={**settings, "epochs": 1, **changed})


def test_training_on_the_cpu_is_said_where_a_gpu_is_asked_for(settings, caplog, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1, "gpu_id": "0"})
    assert "setting 'gpu_id' has no effect: torch finds no GPU 0, so the CPU trains" in caplog.text
    caplog.clear()
    recommend(result["run_directory"], topk=1)
    assert "gpu_id" not in caplog.text
