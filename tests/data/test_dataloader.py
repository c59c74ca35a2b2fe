"""The order in which samples are read, how many at once, and which."""

import pytest
import torch

from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.data.dataloader import SampleOrder


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


def test_evaluation_shards_cover_every_sample_once():
    shards = [list(SampleOrder(7, False, rank=rank, processes=3)) for rank in range(3)]
    assert sorted(number for shard in shards for number in shard) == list(range(7))


@pytest.mark.parametrize(("model", "rows"), [("GRU4Rec", [5] * 9 + [3]), ("Mamba4Rec", [48])])
def test_a_large_catalogue_is_scored_in_fewer_rows_at_once_where_all_scores_are_held(
    settings, monkeypatch, model, rows
):
    from recbole_echomamba.data import dataloader

    monkeypatch.setattr(dataloader, "MAX_SCORES_BYTES", 4 * 13 * 5)
    config = Config(model, "cycle", config_dict=settings)
    _, valid, _ = data_preparation(config, create_dataset(config))
    assert [len(batch[0]) for batch in valid] == rows


def test_train_on_all_has_every_target(settings):
    config = Config("Mamba4Rec", "cycle", config_dict={**settings, "train_on": "all"})
    train, valid, test = data_preparation(config, create_dataset(config))
    assert len(train.dataset) == 48 * 10
    assert len(valid.dataset) == len(test.dataset) == 48
