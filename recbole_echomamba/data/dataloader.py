"""RecBole's loaders without a list of all sample numbers, with shards that are not padded in evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader, TrainDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.transform import construct_transform

MAX_SCORES_BYTES = 2**29
"""Scores of one evaluation batch, ``rows * n_items * 4`` bytes; RecBole's collector makes an equal matrix beside them."""


def limit_batch_size(n_items: int, most: int) -> int:
    """How many histories may be scored against all items at a time: at least one, at most ``most``."""
    return max(1, min(most, MAX_SCORES_BYTES // (4 * n_items)))


class SampleIndices(torch.utils.data.Dataset):
    """The samples ``0..n-1``; a batch of numbers is the numbers themselves."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return index

    def __getitems__(self, indices):
        return indices


class SampleOrder(torch.utils.data.Sampler):
    """The order in which samples are read: the permutations of PyTorch's random and distributed samplers.

    Args:
        n: samples. shuffle: whether to permute them. generator: of a single process.
        rank, processes: this process takes every ``processes``-th sample from its ``rank``.
        padded: every process takes equally many, the first samples twice where they do not divide evenly.
    """

    def __init__(self, n: int, shuffle: bool, generator=None, rank: int = 0, processes: int = 1, padded: bool = False):
        self.n, self.shuffle, self.generator = n, shuffle, generator
        self.rank, self.processes, self.padded = rank, processes, padded
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """With several processes, the permutation follows from the epoch."""
        self.epoch = epoch

    def __len__(self):
        return math.ceil(self.n / self.processes) if self.padded else len(range(self.rank, self.n, self.processes))

    def __iter__(self) -> Iterator[int]:
        generator = self.generator if self.processes == 1 else torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(self.n, generator=generator) if self.shuffle else torch.arange(self.n)
        if self.padded and self.n:
            order = order.repeat(math.ceil(self.processes / self.n) + 1)[: len(self) * self.processes]
        for part in order[self.rank :: self.processes].split(2**16):
            yield from part.tolist()


class _Loader(AbstractDataLoader):
    """Stands where RecBole's loaders look for their base."""

    def __init__(self, config, dataset, sampler, shuffle=False):
        self.shuffle = shuffle
        self.config = config
        self._dataset = dataset
        self._sampler = sampler
        self._batch_size = self.step = self.model = None
        self._init_batch_size_and_step()
        self.generator = torch.Generator()
        self.generator.manual_seed(config["seed"])
        self.transform = construct_transform(config)
        self.is_sequential = True
        rank, processes = 0, 1
        if not config["single_spec"]:
            rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
            self.step = max(1, self.step // processes)
        training = isinstance(self, TrainDataLoader)
        order = SampleOrder(
            self.sample_size, shuffle, self.generator, rank, processes, padded=training and processes > 1
        )
        torch.utils.data.DataLoader.__init__(
            self,
            dataset=SampleIndices(self.sample_size),
            batch_size=self.step,
            collate_fn=self.collate_fn,
            num_workers=config["worker"],
            sampler=order,
            generator=self.generator,
        )


class TrainLoader(TrainDataLoader, _Loader):
    """Samples in a new order every epoch, with negatives where the loss needs them."""


class FullSortLoader(FullSortEvalDataLoader, _Loader):
    """Samples whose targets are ranked among all items; as many rows at once as leave the scores small."""

    def _init_batch_size_and_step(self):
        super()._init_batch_size_and_step()
        self.step = limit_batch_size(self._dataset.item_num, self.step)
        self.set_batch_size(self.step)


class NegSampleLoader(NegSampleEvalDataLoader, _Loader):
    """Samples whose targets are ranked among sampled items."""
