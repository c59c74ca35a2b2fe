"""Missing values and lists become what RecBole makes of them under pandas 2, under every pandas.

RecBole's own class runs beside ours, under the rules of pandas 3, which pandas 2 can be asked to follow.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.data.dataset import SequentialDataset

from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.data import preparation
from recbole_echomamba.data.compatible_dataset import CompatibleDataset
from recbole_echomamba.data.windowed_dataset import WindowedDataset
from recbole_echomamba.system.errors import UserError
from tests.conftest import ITEMS, ROWS, SMALL, write_inter

PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3

HOLES = "holes"
ITEM_HEADER = "item_id:token\tclass:token\tprice:float\ttags:token_seq\tsizes:float_seq"
LOADED = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class", "price", "tags", "sizes"]}


@pytest.fixture(autouse=True)
def copy_on_write():
    """Make pandas 2 refuse to change a frame through one of its columns, as pandas 3 does."""
    if PANDAS_3:
        yield
    else:
        with pd.option_context("mode.copy_on_write", True):
            yield


@pytest.fixture
def config(tmp_path):
    """Return the settings of a dataset in which a time and the features of two items are missing; one item is not described."""
    (tmp_path / HOLES).mkdir()
    rows = [(user, item, "" if (user, item) == ("u0", "i0") else time) for user, item, time in ROWS]
    write_inter(tmp_path / HOLES / f"{HOLES}.inter", rows)
    items = [(f"i{n}", f"c{n % 3}", str(n), f"t{n} t0", f"{n} 1.5") for n in range(ITEMS - 1)]
    items[1:3] = [("i1", "", "", "", ""), ("i2", "NA", "nan", "t2", "2")]
    write_inter(tmp_path / HOLES / f"{HOLES}.item", items, ITEM_HEADER)
    settings = {"data_path": str(tmp_path), "load_col": LOADED, "filter_inter_by_user_or_item": False}
    return Config("Mamba4Rec", HOLES, config_dict={**SMALL, **settings})


def read_missing(dataset):
    """Return what an item without class, price, tags and sizes, an undescribed item and the padding have in their places."""
    dataset._change_feat_format()
    numbers = [dataset.token2id("item_id", "i1"), dataset.token2id("item_id", f"i{ITEMS - 1}"), 0]
    return {name: dataset.item_feat[name][numbers] for name in ("class", "price", "tags", "sizes")}


@pytest.mark.parametrize("kind", [CompatibleDataset, WindowedDataset])
def test_missing_features_of_items_become_padding_mean_and_empty_lists(config, kind):
    missing = read_missing(kind(config))
    prices = [n for n in range(ITEMS - 1) if n not in (1, 2)]
    assert missing["class"].tolist() == [0, 0, 0]
    assert missing["price"].tolist() == pytest.approx([np.mean(prices)] * 3)
    assert missing["tags"].tolist() == [[0, 0]] * 3
    assert missing["sizes"].tolist() == [[0, 0]] * 3


def test_a_missing_time_becomes_the_mean_of_the_times(config):
    times = [float(time) for user, item, time in ROWS if (user, item) != ("u0", "i0")]
    dataset = CompatibleDataset(config)
    place = ROWS.index(("u0", "i0", "1"))
    assert dataset.inter_feat["timestamp"][place] == pytest.approx(np.mean(times))


def test_windows_have_the_same_times_and_the_features_are_joined(config):
    dataset = create_dataset(config)
    assert isinstance(dataset, WindowedDataset)
    assert np.isfinite(dataset.inter_feat["timestamp"]).all()
    train, _, _ = data_preparation(config, dataset)
    batch = next(iter(train))
    described = dataset.item_feat[batch["item_id"]]
    for name in ("class", "price", "tags", "sizes"):
        assert torch.equal(batch[name], described[name])
        assert torch.isfinite(batch[name].float()).all()


def test_recboles_own_class_cannot_read_an_empty_list(config):
    with pytest.raises(AttributeError, match="'float' object has no attribute 'split'"):
        SequentialDataset(config)


def test_recboles_own_class_leaves_missing_numbers_missing(config):
    config["load_col"]["item"] = ["item_id", "class", "price"]
    dataset = SequentialDataset(config)
    assert dataset.inter_feat["timestamp"].isna().any()
    assert dataset.item_feat[["class", "price"]].isna().any().all()


def test_lists_of_numbers_are_rescaled_together(config):
    config["normalize_field"] = ["sizes", "price"]
    dataset = CompatibleDataset(config)
    assert [len(sizes) for sizes in dataset.item_feat["sizes"]].count(2) == ITEMS - 3
    sizes = np.concatenate(dataset.item_feat["sizes"].to_numpy())
    assert (sizes.min(), sizes.max()) == (0, 1)
    assert sorted(sizes)[1] == pytest.approx(1.5 / 10)
    assert (dataset.item_feat["price"].min(), dataset.item_feat["price"].max()) == (0, 1)


@pytest.mark.skipif(not PANDAS_3, reason="RecBole prepares these under pandas 2")
def test_a_list_among_numerical_features_is_refused_where_recbole_cannot_prepare_it(config):
    config["numerical_features"] = ["sizes"]
    with pytest.raises(UserError, match="numerical_features names sizes, a list"):
        create_dataset(config)


def test_lists_are_cut_to_seq_len(config):
    config["seq_len"] = {"tags": 1}
    dataset = CompatibleDataset(config)
    assert dataset.field2seqlen["tags"] == 1
    assert {len(tags) for tags in dataset.item_feat["tags"]} == {0, 1}


@pytest.mark.parametrize("model", ["DIEN", "GRU4RecKG", "KSR"])
def test_the_datasets_that_recbole_has_for_single_models_are_filled_too(model):
    config = Config(model, "ml-100k", config_dict=SMALL)
    kind = preparation._choose_dataset_class(config)
    assert kind.__name__ == f"{model}Dataset"
    assert kind._fill_nan is CompatibleDataset._fill_nan
    assert kind._load_feat is CompatibleDataset._load_feat
