"""The order in which samples are read, how many at once, and which."""

import numpy as np
import pytest
import torch

from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.data import dataloader
from recbole_echomamba.data.dataloader import SampleOrder
from recbole_echomamba.data.permutation import permute


@pytest.mark.parametrize(("n", "processes"), [(10, 2), (7, 3), (2, 5), (0, 1)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_order_of_samples_is_pytorchs(n, processes, shuffle):
    from torch.utils.data import DistributedSampler, RandomSampler

    for rank in range(processes):
        ours = SampleOrder(n, shuffle, torch.Generator().manual_seed(3), rank, processes, padded=processes > 1)
        if processes > 1:
            theirs = DistributedSampler(range(n), processes, rank, shuffle)
            theirs.set_epoch(4)
            ours.set_epoch(4)
        else:
            theirs = RandomSampler(range(n), generator=torch.Generator().manual_seed(3)) if shuffle and n else range(n)
        assert list(ours) == list(theirs)
        assert len(ours) == len(list(ours))


@pytest.mark.parametrize("n", [1, 2, 3, 97, 10_000, 65_537])
def test_a_computed_permutation_holds_every_number_once_and_follows_from_its_key(n):
    first, second = (permute(np.arange(n), n, key) for key in (0, 2**63 - 2))
    assert np.array_equal(np.sort(first), np.arange(n))
    assert np.array_equal(np.sort(second), np.arange(n))
    assert np.array_equal(permute(np.arange(n)[::-1], n, 0), first[::-1])
    assert n < 10 or not np.array_equal(first, second)


def test_a_computed_permutation_of_a_billion_scatters_neighbours_over_all():
    n = 1_088_161_692
    samples = permute(np.arange(2**18), n, 5)
    assert len(np.unique(samples)) == 2**18
    # of numbers drawn at random: a third between neighbours, and these counts within four standard deviations
    assert np.abs(np.diff(samples)).mean() / n == pytest.approx(1 / 3, abs=0.005)
    assert np.abs(np.bincount(samples * 64 // n) - 2**12).max() < 4 * 2**6


@pytest.fixture
def nothing_is_listed(monkeypatch):
    monkeypatch.setattr(dataloader, "MAX_LISTED", 5)
    monkeypatch.setattr(dataloader, "READ_TOGETHER", 4)


@pytest.mark.parametrize(("n", "processes"), [(10, 1), (10, 2), (7, 3), (6, 9)])
def test_a_computed_order_has_each_sample_once_an_epoch_and_another_order_each_epoch(n, processes, nothing_is_listed):
    generator = torch.Generator().manual_seed(3)
    epochs = []
    for epoch in range(3):
        shards = [SampleOrder(n, True, generator, rank, processes, padded=processes > 1) for rank in range(processes)]
        for shard in shards:
            shard.set_epoch(epoch)
        drawn = [list(shard) for shard in shards]
        assert [len(samples) for samples in drawn] == [len(shard) for shard in shards]
        # the first places of the order are read twice where the processes cannot share it evenly
        order = [sample for step in zip(*drawn, strict=True) for sample in step]
        assert sorted(order[:n]) == list(range(n))
        assert order[n:] == (order[:n] * processes)[: len(order) - n]
        epochs.append(order)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_a_computed_order_continues_from_the_state_of_its_generator(nothing_is_listed):
    first = SampleOrder(50, True, torch.Generator().manual_seed(3))
    list(first)
    state = first.generator.get_state()
    resumed = SampleOrder(50, True, torch.Generator())
    resumed.generator.set_state(state)
    assert list(resumed) == list(first)


def test_a_computed_order_is_of_the_same_samples_and_said_in_the_log(settings, monkeypatch, caplog):
    config = Config("Mamba4Rec", "cycle", config_dict=settings)
    seen = []
    for most in (dataloader.MAX_LISTED, 5):
        monkeypatch.setattr(dataloader, "MAX_LISTED", most)
        caplog.clear()
        with caplog.at_level("INFO"):
            train, *_ = data_preparation(config, create_dataset(config))
        assert ("read in an order that is computed" in caplog.text) == (most == 5)
        batches = list(train)
        seen.append([torch.cat([batch[name] for batch in batches]) for name in ("user_id", "item_id_list", "item_id")])
    listed, computed = ([tuple(map(str, row)) for row in zip(*columns, strict=True)] for columns in seen)
    assert listed != computed
    assert sorted(listed) == sorted(computed)


def test_evaluation_shards_cover_every_sample_once():
    shards = [list(SampleOrder(7, False, rank=rank, processes=3)) for rank in range(3)]
    assert sorted(number for shard in shards for number in shard) == list(range(7))


@pytest.mark.parametrize(("model", "rows"), [("GRU4Rec", [5] * 9 + [3]), ("Mamba4Rec", [48])])
def test_a_large_catalogue_is_scored_in_fewer_rows_at_once_where_all_scores_are_held(
    settings, monkeypatch, model, rows
):
    monkeypatch.setattr(dataloader, "MAX_SCORES_BYTES", 4 * 13 * 5)
    config = Config(model, "cycle", config_dict=settings)
    _, valid, _ = data_preparation(config, create_dataset(config))
    assert [len(batch[0]) for batch in valid] == rows


def test_train_on_all_has_every_target(settings):
    config = Config("Mamba4Rec", "cycle", config_dict={**settings, "train_on": "all"})
    train, valid, test = data_preparation(config, create_dataset(config))
    assert len(train.dataset) == 48 * 10
    assert len(valid.dataset) == len(test.dataset) == 48


@pytest.mark.parametrize(("changed", "samples"), [({"loss_type": "CE"}, False), ({"loss_type": "BPR"}, True)])
def test_samplers_are_made_only_where_items_are_sampled(settings, changed, samples):
    config = Config("Mamba4Rec", "cycle", config_dict={**settings, **changed})
    loaders = data_preparation(config, create_dataset(config))
    assert [loader._sampler is not None for loader in loaders] == [samples] * 3
