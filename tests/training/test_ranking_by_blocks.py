"""Evaluation by blocks of items finds what evaluation from all scores finds."""

import numpy as np
import pytest
import torch

from recbole_echomamba import Config, get_model
from recbole_echomamba.data import dataloader
from recbole_echomamba.data.dataloader import ranks_by_blocks
from recbole_echomamba.experiment import build
from recbole_echomamba.models.base import StateSpaceRecommender
from recbole_echomamba.ops import ranking
from recbole_echomamba.training import Trainer

METRICS_OF_RANKS = ["Hit", "NDCG", "MRR", "Recall", "Precision", "MAP"]
METRICS_OF_TOP_ITEMS = ["ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage"]


@pytest.fixture
def evaluate(settings, monkeypatch):
    """``evaluate(by_blocks, change, **settings)``: the trainer of an untrained model and the metrics of its test part."""
    monkeypatch.setitem(ranking.BLOCK, "cpu", (16, 5))

    def make(by_blocks, change=lambda weight: None, **changed):
        monkeypatch.setattr(dataloader, "MAX_SCORES_BYTES", 4 * 13 * (10 if by_blocks else 1000))
        config = Config("Mamba4Rec", "cycle", config_dict={**settings, "metric_decimal_place": 12, **changed})
        built = build(config)
        torch.manual_seed(0)
        with torch.no_grad():
            weight = built.model.item_embedding.weight
            weight[1:] = torch.randn_like(weight[1:])
            change(weight)
        trainer = Trainer(config, built.model)
        trainer.eval_collector.data_collect(built.train)
        result = trainer.evaluate(built.test, load_best_model=False)
        assert trainer._ranks_by_blocks == by_blocks
        return trainer, result

    return make


def tie(weight):
    weight[2:6] = weight[1]


@pytest.mark.parametrize(
    ("change", "metrics"),
    [(lambda weight: None, METRICS_OF_RANKS + METRICS_OF_TOP_ITEMS), (tie, METRICS_OF_RANKS)],
    ids=["distinct", "tied"],
)
def test_metrics_ranks_and_ties_are_those_of_all_scores(evaluate, change, metrics):
    settings = {"metrics": metrics, "topk": [1, 5, 10]}
    (blocks, by_blocks), (dense, from_scores) = (evaluate(way, change, **settings) for way in (True, False))
    assert dict(by_blocks) == dict(from_scores)
    assert blocks.result_unseen == dense.result_unseen
    assert (blocks.eval_collector.tied > 0) == (change is tie)
    assert blocks.eval_collector.tied == dense.eval_collector.tied
    expected = dense.eval_collector.ranks()
    for name, column in blocks.eval_collector.ranks().items():
        assert np.array_equal(column, expected[name]), name
    assert len(expected["rank_unseen"]) == 48


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 3e38])
def test_scores_that_are_not_finite_are_refused_alike(evaluate, value):
    def spoil(weight):
        weight[7] = value * torch.randn_like(weight[7]).sign()

    messages = []
    for by_blocks in (True, False):
        with pytest.raises(ValueError, match="Mamba4Rec gave ") as error:
            evaluate(by_blocks, spoil)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


class OwnScore(StateSpaceRecommender):
    def score(self, encoded):
        return -super().score(encoded)


def test_all_scores_are_kept_where_something_else_gives_or_reads_them(settings, monkeypatch):
    monkeypatch.setattr(dataloader, "MAX_SCORES_BYTES", 1)

    def by_blocks(model, **changed):
        return ranks_by_blocks(model, Config("Mamba4Rec", "cycle", config_dict={**settings, **changed}), 13)

    assert by_blocks(get_model("Mamba4Rec"))
    assert not by_blocks(OwnScore)
    assert not by_blocks(get_model("SASRec"))
    assert not by_blocks(get_model("Mamba4Rec"), metrics=["GAUC"], valid_metric="GAUC")
    monkeypatch.setattr(dataloader, "MAX_SCORES_BYTES", 2**29)
    assert not by_blocks(get_model("Mamba4Rec"))
