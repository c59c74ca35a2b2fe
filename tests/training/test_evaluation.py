import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_echomamba import Config
from recbole_echomamba.training.evaluation import RankCollector


def collected(scores, targets):
    config = Config("EchoMamba4Rec", "ml-100k")
    collector = RankCollector(config)
    rows = torch.arange(len(targets))
    interaction = Interaction({"user_id": rows + 1, "item_length": rows + 5})
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
