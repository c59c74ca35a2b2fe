import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_echomamba import Config
from recbole_echomamba.training.evaluation import RankCollector, metrics_of_ranks


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


def test_nan_scores_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        collected([[-np.inf, *[float("nan")] * 25]], [3])


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
