"""BERT4Rec's masking where a history holds every item: RecBole draws for ever there."""

import random

import pytest
from recbole.data import transform as recbole_transform

from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.data.transform import construct_transform
from recbole_echomamba.system.errors import UserError
from tests.conftest import write_inter


def few_items(folder, **changed):
    """Settings of a dataset of three items, which every history but the shortest holds."""
    (folder / "few").mkdir()
    write_inter(
        folder / "few" / "few.inter",
        [(f"u{user}", f"i{(user + step) % 3}", str(step)) for user in range(6) for step in range(8)],
    )
    sizes = {"data_path": str(folder), "topk": [1], "valid_metric": "NDCG@1", "MAX_ITEM_LIST_LENGTH": 6}
    return Config("BERT4Rec", "few", config_dict={**sizes, **changed})


def test_masking_a_history_of_all_items_ends(tmp_path):
    config = few_items(tmp_path)
    train, *_ = data_preparation(config, create_dataset(config))
    batch = next(iter(train))
    assert (batch["Neg_item_id"] >= 0).all()
    assert batch["Neg_item_id"].shape == batch["Pos_item_id"].shape


def test_a_loss_that_needs_another_item_is_refused(tmp_path):
    config = few_items(tmp_path, loss_type="BPR")
    train, *_ = data_preparation(config, create_dataset(config))
    with pytest.raises(UserError, match="a history holds all 3 items of dataset few"):
        next(iter(train))


def test_where_an_item_is_left_the_draws_are_recboles(settings):
    config = Config("BERT4Rec", "cycle", config_dict=settings)
    history = [*range(1, 12), 0, 0]
    random.seed(5)
    expected = [recbole_transform.MaskItemSequence(config)._neg_sample(history, 14) for _ in range(20)]
    random.seed(5)
    assert [construct_transform(config)._neg_sample(history, 14) for _ in range(20)] == expected
