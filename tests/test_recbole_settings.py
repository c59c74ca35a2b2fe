"""Models of RecBole that need more than its trainer gives every model, from training to recommendation."""

import pytest

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
