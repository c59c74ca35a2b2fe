"""Prepared columns cached beside the data: the same data, never stale, never trusted when damaged."""

import pytest

from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.data import cache, windowed_dataset
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
