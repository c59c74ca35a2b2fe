"""Whole training sequences: every training target once an epoch, with the items before it and no held-out one."""

import numpy as np
import pytest
import torch

from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.data.samples import ListedSamples, SampleRuns
from recbole_echomamba.data.sequence_loader import ChunkBatches, cut_into_chunks, find_sequences
from tests.conftest import HISTORY, USERS

LENGTHS = np.array([1, 5, 17, 40, 8, 9, 3])
SEQUENCES = np.stack([np.cumsum(LENGTHS + 3) - LENGTHS, LENGTHS], axis=1)


def rows_of(chunks):
    return np.concatenate([np.arange(first, first + length) for first, length in chunks])


@pytest.mark.parametrize("slots", [1, 3, 8, 100])
def test_chunks_cover_every_target_once_and_are_never_longer_than_the_slots(slots):
    chunks = cut_into_chunks(SEQUENCES, slots, torch.Generator().manual_seed(0))
    assert sorted(rows_of(chunks)) == sorted(rows_of(SEQUENCES))
    assert chunks[:, 1].min() >= 1
    assert chunks[:, 1].max() <= slots


def test_long_sequences_are_cut_elsewhere_every_epoch_and_short_ones_are_whole():
    generator = torch.Generator().manual_seed(0)
    first, second = (set(map(tuple, cut_into_chunks(SEQUENCES, 8, generator))) for _ in range(2))
    assert first != second
    for length in (1, 5, 8, 3):
        assert tuple(SEQUENCES[length == LENGTHS][0]) in first & second


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_batches_hold_every_target_and_are_as_many_as_the_length_says(processes):
    shards = [
        ChunkBatches(SEQUENCES, 8, 12, torch.Generator().manual_seed(1), rank, processes) for rank in range(processes)
    ]
    drawn = [list(shard) for shard in shards]
    assert [len(batches) for batches in drawn] == [len(shard) for shard in shards]
    rows = np.concatenate([rows_of(batch) for batches in drawn for batch in batches])
    assert set(rows) == set(rows_of(SEQUENCES))
    if processes == 1:
        assert len(rows) == LENGTHS.sum()


def test_targets_that_follow_each_other_within_a_user_are_one_sequence():
    user = np.repeat([1, 2, 3], [5, 1, 4])
    listed = ListedSamples(torch.tensor([9, 8, 1, 2, 7]), torch.tensor([3, 2, 1, 2, 1]))
    runs = SampleRuns(np.array([9, 1, 7]), np.array([1, 2, 2]), np.array([6, 0, 6]), 3)
    for samples in (listed, runs):
        assert find_sequences(samples, user).tolist() == [[0, 2], [6, 3]]
    assert find_sequences(listed.select(slice(0)), user).tolist() == []


@pytest.fixture
def loader(settings):
    config = Config("Mamba4Rec", "cycle", config_dict={**settings, "train_positions": "all"})
    return data_preparation(config, create_dataset(config))[0]


def test_a_batch_holds_each_item_with_the_next_as_its_target(loader):
    targets = 0
    for batch in loader:
        items, following, lengths = batch["item_id_list"], batch["item_id"], batch["item_length"]
        inside = torch.arange(items.shape[1]) < lengths[:, None]
        assert torch.equal(items > 0, inside)
        assert torch.equal(following > 0, inside)
        assert torch.equal(items[:, 1:][inside[:, 1:]], following[:, :-1][inside[:, 1:]])
        targets += int(inside.sum())
    # two of each user's interactions are held out, and the first has none before it
    assert targets == USERS * (HISTORY - 3)


def test_every_training_target_of_the_prefixes_is_there_and_no_other(settings, loader):
    config = Config("Mamba4Rec", "cycle", config_dict=settings)
    samples = data_preparation(config, create_dataset(config))[0].dataset.inter_feat
    rows = rows_of(np.concatenate(list(loader.sampler))) + 1
    assert sorted(rows) == sorted(samples.targets.tolist())


def test_data_without_windows_are_refused(settings):
    config = Config("Mamba4Rec", "cycle", config_dict={**settings, "train_positions": "all"})
    from recbole.data.dataset import SequentialDataset

    with pytest.raises(ValueError, match="train_positions: all is not possible with benchmark files"):
        data_preparation(config, SequentialDataset(config))
