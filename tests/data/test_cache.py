"""Prepared columns cached beside the data: the same data, never stale, never trusted when damaged."""

import tracemalloc

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from recbole_echomamba import Config, create_dataset, data_preparation, get_model
from recbole_echomamba.data import cache, dataloader, run_warnings, samples, windowed_dataset
from recbole_echomamba.data.histories import Histories
from recbole_echomamba.models import base
from tests.data.test_windowed_dataset import SMALL, assert_same_samples, awkward


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A function that reads a dataset that is large enough to be cached, and the folder of its cache."""
    awkward(tmp_path / "odd")
    monkeypatch.setattr(windowed_dataset, "MIN_CACHED_BYTES", 0)

    def read(**changed):
        changed = {"data_path": str(tmp_path), "topk": [1], "valid_metric": "NDCG@1", **changed}
        intervals = {"user_inter_num_interval": "[1,inf)", "item_inter_num_interval": "[1,inf)"}
        config = Config("SASRec", "odd", config_dict={**SMALL, **intervals, **changed})
        dataset = create_dataset(config)
        data_preparation(config, dataset)
        return dataset

    return read, tmp_path / "odd" / cache.FOLDER


def reads(monkeypatch):
    """Return a list that gets an entry for each time that the atomic file is read."""
    count = []
    original = windowed_dataset.read_atomic_file

    def counted(*arguments):
        count.append(1)
        return original(*arguments)

    monkeypatch.setattr(windowed_dataset, "read_atomic_file", counted)
    return count


def test_the_cache_gives_the_same_data_without_reading_the_file(cached, monkeypatch):
    read, folder = cached
    first, count = read(), reads(monkeypatch)
    again = read()
    assert count == []
    assert len(list(folder.iterdir())) == 1
    assert_same_samples(first.inter_feat, again.inter_feat)
    for field in ("user_id", "item_id"):
        assert first.field2token_id[field] == again.field2token_id[field]
    assert first.field2type == again.field2type
    assert first.reordered_users == again.reordered_users > 0


def test_another_file_or_setting_is_not_served_from_the_cache(cached, monkeypatch):
    read, folder = cached
    read()
    count = reads(monkeypatch)
    read(exact_time_order=True)
    file = folder.parent / "odd.inter"
    file.write_text(file.read_text() + "u1\ta\t1600000300\n")
    read()
    assert count == [1, 1]
    read(MAX_ITEM_LIST_LENGTH=3)
    assert count == [1, 1]


def damage(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"format": 2}', "[" * 100_000, '{"format": 2, "digests": [], "digest": ""}']
)
def test_facts_of_another_form_are_prepared_again(cached, caplog, content):
    read, folder = cached
    first = read()
    (place,) = folder.iterdir()
    (place / "facts.json").write_text(content)
    again = read()
    assert f"{place} is damaged" in caplog.text
    assert "; the data are prepared again" in caplog.text
    assert_same_samples(first.inter_feat, again.inter_feat)


def rename_a_column(file):
    file.write_bytes(file.read_bytes().replace(b"item_id", b"item_yd", 1) + bytes(file.suffix == ".npy"))


@pytest.mark.parametrize(
    "spoil", [damage, rename_a_column, lambda file: file.write_bytes(b"x"), lambda file: file.unlink()]
)
@pytest.mark.parametrize("name", ["column.item_id.npy", "facts.json"])
def test_a_damaged_cache_is_prepared_again(cached, monkeypatch, spoil, name):
    read, folder = cached
    first = read()
    (place,) = folder.iterdir()
    spoil(place / name)
    count = reads(monkeypatch)
    again = read()
    assert count == [1]
    assert_same_samples(first.inter_feat, again.inter_feat)
    read()
    assert count == [1]


def test_a_dataset_in_a_folder_that_cannot_be_written_is_read_without_a_cache(cached, monkeypatch):
    read, folder = cached
    folder.write_text("a file where the folder would be")
    assert len(read().inter_feat) > 0


def test_another_encoding_is_not_served_from_the_cache(cached):
    read, _ = cached
    assert "é" in read().field2id_token["item_id"]
    assert "Ã©" in read(encoding="latin-1").field2id_token["item_id"]


class LargestTensor(TorchFunctionMode):
    """Record the largest size in bytes of a tensor that an operation makes; views are not counted."""

    bytes = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given, made = (
            {
                each.untyped_storage().data_ptr(): each.nbytes
                for each in tree_leaves(tree)
                if isinstance(each, torch.Tensor)
            }
            for tree in (args, result)
        )
        self.bytes = max([self.bytes, *(made[pointer] for pointer in made.keys() - given.keys())])
        return result


def test_from_the_cache_nothing_is_held_for_each_sample(tmp_path, settings, monkeypatch):
    users, rows = 4, 100_000
    (tmp_path / "long").mkdir()
    lines = [f"u{place % users}\ti{place * 7 % 50}\t{place}" for place in range(rows)]
    text = "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines])
    (tmp_path / "long" / "long.inter").write_text(text + "\n")
    monkeypatch.setattr(windowed_dataset, "MIN_CACHED_BYTES", 0)
    monkeypatch.setattr(samples, "BLOCK", 4000)
    monkeypatch.setattr(run_warnings, "MAX_TIMES", 1000)
    monkeypatch.setattr(dataloader, "MAX_LISTED", 1000)
    changed = {"loss_type": "SampledCE", "train_negatives": 8, "negative_distribution": "popularity"}
    config = Config("Mamba4Rec", "long", config_dict={**settings, "data_path": str(tmp_path), "topk": [10], **changed})
    monkeypatch.setattr(dataloader, "READ_TOGETHER", 1000)
    monkeypatch.setattr(base, "COUNTED_TOGETHER", 4000)

    def start(dataset):
        loaders = data_preparation(config, dataset)
        get_model("Mamba4Rec")(config, loaders[0].dataset)
        next(iter(loaders[0]))
        return loaders, Histories(dataset)

    # the first start writes the cache and imports modules
    start(create_dataset(config))
    dataset = create_dataset(config)
    tracemalloc.start()
    with LargestTensor() as largest:
        loaders, histories = start(dataset)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(histories.users) == users
    assert len(loaders[0].dataset) == rows - 3 * users
    parts = [loader.dataset.inter_feat.samples for loader in loaders]
    arrays = [value for part in parts for value in vars(part).values() if hasattr(value, "nbytes")]
    assert sum(array.nbytes for array in arrays) == 3 * 32 * users
    # 32 bits for each row would be 400,000
    assert largest.bytes < 2 * rows
    assert peak < 2 * rows
