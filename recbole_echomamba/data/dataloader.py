"""RecBole's loaders without a list of all sample indices, and without padded shards in evaluation."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader, TrainDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.evaluator.register import Register

from recbole_echomamba.data.permutation import permute
from recbole_echomamba.data.samples import MAX_LISTED
from recbole_echomamba.data.transform import construct_transform
from recbole_echomamba.data.windowed_interaction import WindowedInteraction
from recbole_echomamba.models.base import has_linear_scores
from recbole_echomamba.system.ranks import is_distributed, process_rank

MAX_SCORES_BYTES = 2**29
"""The most memory for the scores of an evaluation batch, ``[B, n_items]`` in float32. RecBole's collector takes as much again."""


def limit_batch_size(n_items: int, largest: int) -> int:
    """Return how many histories to score against all items at once: at least one and at most ``largest``."""
    return max(1, min(largest, MAX_SCORES_BYTES // (4 * n_items)))


def ranks_by_blocks(model_class: type, config, n_items: int) -> bool:
    """Return whether evaluation ranks items by blocks, without the scores of a batch.

    It does where the scores of a complete batch would exceed :data:`MAX_SCORES_BYTES`, the model is one that
    :func:`.has_linear_scores`, and no metric reads the scores themselves.
    """
    need = Register(config).need
    return (
        limit_batch_size(n_items, config["eval_batch_size"]) < config["eval_batch_size"]
        and has_linear_scores(model_class)
        and not (need("rec.score") or need("rec.meanrank") or need("data.label"))
    )


READ_TOGETHER = 2**16
"""Places of the order of samples that are looked up at once."""


class SampleIndices(torch.utils.data.Dataset):
    """Pass sample indices ``0..n-1`` through unchanged, so that ``collate_fn`` receives a batch of them."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return index

    def __getitems__(self, indices):
        return indices


class SampleOrder(torch.utils.data.Sampler):
    """The order in which samples are read: that of PyTorch's random and distributed samplers.

    More than :data:`.MAX_LISTED` samples are permuted by :func:`.permute`, which holds no list of them.

    Args:
        n: number of samples.
        shuffle: whether to permute them.
        generator: draws the permutations of a single process. With several processes they follow from the epoch.
        rank: of this process. It reads every ``processes``-th sample, starting at ``rank``.
        processes: number of processes.
        padded: let every process read equally many samples, the first ones twice where ``n`` does not divide evenly.
    """

    def __init__(
        self,
        n: int,
        shuffle: bool,
        generator: torch.Generator | None = None,
        rank: int = 0,
        processes: int = 1,
        padded: bool = False,
    ):
        self.n = n
        self.shuffle = shuffle
        self.generator = generator
        self.rank = rank
        self.processes = processes
        self.padded = padded
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of several processes."""
        self.epoch = epoch

    def __len__(self):
        return math.ceil(self.n / self.processes) if self.padded else len(range(self.rank, self.n, self.processes))

    def __iter__(self) -> Iterator[int]:
        generator = self.generator if self.processes == 1 else torch.Generator().manual_seed(self.epoch)
        sample_at = self._draw_order(generator)
        end = len(self) * self.processes if self.padded else self.n
        # a list of all indices would take eight times the memory of an array
        step = READ_TOGETHER * self.processes
        for start in range(self.rank, end, step):
            places = np.arange(start, min(start + step, end), self.processes) % self.n
            yield from sample_at(places).tolist()

    def _draw_order(self, generator: torch.Generator | None) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function from places in the order to samples."""
        if not self.shuffle:
            return lambda places: places
        if self.n > MAX_LISTED:
            key = int(torch.randint(2**63 - 1, (), generator=generator))
            return functools.partial(permute, n=self.n, key=key)
        return torch.randperm(self.n, generator=generator).numpy().__getitem__


class _Loader(AbstractDataLoader):
    """Replace `AbstractDataLoader` in the method resolution order of RecBole's loaders."""

    def __init__(self, config, dataset, sampler, shuffle=False):
        self.config = config
        self.shuffle = shuffle
        self.is_sequential = True
        self._dataset = dataset
        self._sampler = sampler
        self._batch_size = self.step = self.model = None
        self._init_batch_size_and_step()
        self.generator = torch.Generator()
        self.generator.manual_seed(config["seed"])
        self.transform = construct_transform(config)
        rank, processes = process_rank(config), 1
        if is_distributed(config):
            processes = torch.distributed.get_world_size()
            self.step = max(1, self.step // processes)
        if shuffle and self.sample_size > MAX_LISTED:
            logging.getLogger().info(
                "%d samples are read in an order that is computed (data/permutation.py); RecBole's, which needs a list of "
                "them, is kept up to %d samples",
                self.sample_size,
                MAX_LISTED,
            )
        padded = isinstance(self, TrainDataLoader) and processes > 1
        torch.utils.data.DataLoader.__init__(
            self,
            dataset=SampleIndices(self.sample_size),
            batch_size=self.step,
            collate_fn=self.collate_fn,
            num_workers=config["worker"],
            sampler=SampleOrder(self.sample_size, shuffle, self.generator, rank, processes, padded),
            generator=self.generator,
        )


class TrainLoader(TrainDataLoader, _Loader):
    """Load samples in a new order every epoch, with negative items if the loss needs them."""


class FullSortLoader(FullSortEvalDataLoader, _Loader):
    """Load samples whose targets are ranked among all items.

    Where all of them are scored, :func:`limit_batch_size` keeps the batches small.
    """

    def collate_fn(self, index):
        """Return RecBole's batch; where the data have windows, its Interaction also has the attribute ``seen``.

        ``seen`` holds the (row, item) pairs of everything each user has interacted with before the target, beyond the window
        too.
        """
        batch = super().collate_fn(index)
        samples = self._dataset.inter_feat
        if isinstance(samples, WindowedInteraction):
            batch[0].seen = samples.items_before(index, self._dataset.uid_field, self._dataset.iid_field)
        return batch

    def _init_batch_size_and_step(self):
        super()._init_batch_size_and_step()
        if not ranks_by_blocks(self.config.model_class, self.config, self._dataset.item_num):
            self.step = limit_batch_size(self._dataset.item_num, self.step)
            self.set_batch_size(self.step)


class NegSampleLoader(NegSampleEvalDataLoader, _Loader):
    """Load samples whose targets are ranked among sampled items."""

    def _init_batch_size_and_step(self):
        if self.sample_size:
            super()._init_batch_size_and_step()
        else:
            # RecBole looks for the largest of no users
            self.step = 1
            self.set_batch_size(1)
