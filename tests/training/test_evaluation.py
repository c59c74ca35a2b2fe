import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_echomamba import Config
from recbole_echomamba.training.evaluation import RankCollector, check_scores, metrics_of_ranks


def collected(scores, targets, seen=None, **settings):
    config = Config("EchoMamba4Rec", "ml-100k", config_dict=settings)
    collector = RankCollector(config)
    rows = torch.arange(len(targets))
    interaction = Interaction({"user_id": rows + 1, "item_length": rows + 5})
    if seen is not None:
        interaction.seen = tuple(torch.tensor(part) for part in seen)
    collector.eval_batch_collect(torch.tensor(scores), interaction, rows, torch.tensor(targets))
    return collector


def test_a_rank_is_one_more_than_the_items_scored_higher():
    scores = [[-np.inf, *range(25)], [-np.inf, *range(25, 0, -1)]]
    ranks = collected(scores, [25, 3]).ranks()
    assert ranks["rank"].tolist() == [1, 3]
    assert ranks["user"].tolist() == [1, 2]
    assert ranks["item"].tolist() == [25, 3]
    assert ranks["history"].tolist() == [5, 6]


def test_ties_count_against_the_model():
    collector = collected([[-np.inf, *[0.0] * 25]], [3])
    assert collector.ranks()["rank"].tolist() == [25]
    assert collector.tied == 1


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
@pytest.mark.parametrize("item", [1, 3, 25])
def test_a_score_that_is_not_finite_is_refused_wherever_it_stands(value, kind, item):
    scores = [-np.inf, *[0.0] * 25]
    scores[item] = value
    with pytest.raises(ValueError, match=f"EchoMamba4Rec gave {kind} scores"):
        collected([scores], [3])


def test_the_parameter_that_went_bad_is_named():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    with torch.no_grad():
        model[1].weight[0, 0] = np.inf
    with pytest.raises(ValueError, match=r"M gave NaN scores \(its parameter 1\.weight is not finite\)"):
        check_scores(torch.tensor([0.0, np.nan]), "M", model)


@pytest.mark.parametrize("equal", [2, 5, 25])
def test_metrics_count_ties_against_the_model_as_ranks_do(equal):
    from recbole.evaluator import Evaluator

    settings = {"metrics": ["Hit", "NDCG", "MRR"], "topk": [1, 5, 20], "valid_metric": "NDCG@5"}
    scores = [-np.inf, *[1.0] * equal, *[0.0] * (25 - equal)]
    collector = collected([scores] * 3, [1, 2, 2], ([0], [25]), metric_decimal_place=10, **settings)
    ranks = collector.ranks()["rank"]
    assert ranks.tolist() == [equal] * 3
    assert collector.tied == 3
    found = Evaluator(collector.config).evaluate(collector.get_data_struct())
    assert dict(found) == pytest.approx(metrics_of_ranks(ranks, settings["metrics"], settings["topk"]))


def test_seen_items_leave_the_ranking_but_a_target_seen_before_stays():
    scores = [[-np.inf, *range(25)], [-np.inf, *range(25)]]
    # of the first user two of the three seen items score higher, of the second the target itself was seen
    seen = ([0, 0, 0, 1, 1], [25, 24, 1, 23, 25])
    ranks = collected(scores, [23, 23], seen).ranks()
    assert ranks["rank"].tolist() == [3, 3]
    assert ranks["rank_unseen"].tolist() == [1, 2]


def test_without_known_histories_there_are_no_unseen_ranks():
    collector = collected([[-np.inf, *range(25)]], [3])
    assert collector.ranks()["rank_unseen"].tolist() == []
    assert collector.result_unseen() == {}


@pytest.mark.parametrize("name", ["Hit", "Recall", "Precision", "NDCG", "MRR", "MAP"])
def test_metrics_of_ranks_are_those_of_recbole(name):
    import recbole.evaluator.metrics as theirs

    settings = {"metrics": [name], "topk": [1, 3, 10], "valid_metric": f"{name}@10", "metric_decimal_place": 12}
    scores = torch.rand(40, 26, generator=torch.Generator().manual_seed(0))
    scores[:, 0] = -np.inf
    collector = collected(scores.tolist(), [1 + row % 25 for row in range(40)], ([0], [5]), **settings)
    expected = getattr(theirs, "NDCG" if name == "NDCG" else name)(collector.config).calculate_metric(
        collector.get_data_struct()
    )
    found = metrics_of_ranks(collector.ranks()["rank"], [name], [1, 3, 10])
    assert found == pytest.approx(dict(expected), abs=1e-12)


def test_the_scores_of_single_rows_are_collected_for_metrics_such_as_auc():
    from recbole.evaluator import Evaluator

    settings = {"metrics": ["AUC", "LogLoss"], "valid_metric": "AUC", "eval_args": {"mode": "uni1"}}
    collector = RankCollector(Config("EchoMamba4Rec", "ml-100k", config_dict=settings))
    rows = torch.arange(4)
    interaction = Interaction({"user_id": rows, "item_length": rows + 5, "label": torch.tensor([1.0, 0.0, 1.0, 0.0])})
    collector.eval_batch_collect(torch.tensor([0.9, 0.4, 0.3, 0.2]), interaction, rows, rows)
    found = Evaluator(collector.config).evaluate(collector.get_data_struct())
    assert found["auc"] == 0.75
    assert not len(collector.ranks()["rank"])
    with pytest.raises(ValueError, match="infinite scores"):
        collector.eval_batch_collect(torch.tensor([0.9, -torch.inf, 0.3, 0.2]), interaction, rows, rows)
