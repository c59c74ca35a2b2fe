"""Load whole training sequences, every position of which is a target, instead of one sample per target.

A user's training interactions are one sequence. An epoch cuts each into chunks of at most ``L`` targets, puts chunks of
similar length into batches of about ``train_batch_size`` targets, and yields the items of a chunk, each with the item after it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_echomamba.data.samples import SampleRuns, Samples

POOL = 32
"""Batches whose chunks are sorted by length together: enough for little padding, few enough for varied batches."""


class SequenceLoader:
    """Iterate over batches of chunks, in a new order and cut at new places every epoch.

    A batch is an Interaction: the list fields of RecBole's samples, ``[b, l]`` and right-padded with 0, where ``l`` is the
    longest chunk of the batch; the target field ``[b, l]``, 0 where there is no target; and the lengths ``[b]``.

    Args:
        config: a :class:`.Config`.
        dataset: the training part, a :class:`.WindowedDataset` that has been built.

    Attributes:
        dataset, generator, sampler, shuffle, step: what RecBole's trainer and collector read from a loader; ``step`` is the
            number of targets in a batch.
    """

    shuffle = True

    def __init__(self, config, dataset):
        self.dataset = dataset
        samples = dataset.inter_feat
        rank, processes = 0, 1
        if not config["single_spec"]:
            rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.step = max(samples.slots, config["train_batch_size"] // processes)
        self.generator = torch.Generator().manual_seed(config["seed"])
        sequences = find_sequences(samples.samples, samples.flat[dataset.uid_field].numpy())
        self.sampler = ChunkBatches(sequences, samples.slots, self.step, self.generator, rank, processes)
        chunks = Chunks(samples.flat, samples.lists, samples.length_field, dataset.iid_field)
        # without a batch size, what the sampler yields is one index of the dataset
        self._loader = torch.utils.data.DataLoader(
            chunks, batch_size=None, sampler=self.sampler, num_workers=config["worker"], generator=self.generator
        )

    def __len__(self):
        return len(self.sampler)

    def __iter__(self) -> Iterator[Interaction]:
        return iter(self._loader)


class Chunks(torch.utils.data.Dataset):
    """Cut chunks out of flat columns.

    Args:
        flat: columns of all interactions, ordered by user and time.
        lists: field to the name of its list.
        length_field: name of the lengths.
        target_field: name of the item column, whose next values are the targets.
    """

    def __init__(self, flat: dict[str, Tensor], lists: dict[str, str], length_field: str, target_field: str):
        self.flat, self.lists = flat, lists
        self.length_field, self.target_field = length_field, target_field

    def __getitem__(self, chunks: np.ndarray) -> Interaction:
        """Return the Interaction of ``chunks [b, 2]``: first row and number of targets of each."""
        first, lengths = (torch.from_numpy(column) for column in chunks.T)
        slots = torch.arange(int(lengths.max()))
        inside = slots < lengths[:, None]
        rows = torch.where(inside, first[:, None] + slots, 0)
        columns = {name: self._cut(field, rows, inside) for field, name in self.lists.items()}
        columns[self.target_field] = self._cut(self.target_field, torch.where(inside, rows + 1, 0), inside)
        columns[self.length_field] = lengths
        return Interaction(columns)

    def _cut(self, field: str, rows: Tensor, inside: Tensor) -> Tensor:
        values = self.flat[field].take(rows).masked_fill_(~inside, 0)
        return values.long() if values.dtype == torch.int32 else values


class ChunkBatches(torch.utils.data.Sampler):
    """Draw the batches of an epoch, each an array ``[b, 2]``: first row and number of targets of every chunk.

    The number of batches is the same in every epoch: chunks are laid end to end and cut into equal numbers of targets. A sequence
    longer than ``slots`` is cut at a new random offset every epoch, so that no target is always at the start of a chunk,
    where the model has no context.

    Args:
        sequences: ``[n, 2]``, first row and number of targets of every sequence.
        slots: ``L``, the longest chunk.
        step: targets in a batch; at least ``slots``, so that no batch is empty.
        generator: of a single process; several draw from the number of the epoch.
        rank, processes: this process takes every ``processes``-th batch from its ``rank``, the first ones twice where they do not
            divide evenly.
    """

    def __init__(self, sequences: np.ndarray, slots: int, step: int, generator, rank: int = 0, processes: int = 1):
        self.sequences, self.slots, self.step = sequences, slots, step
        self.generator, self.rank, self.processes = generator, rank, processes
        self.targets = int(sequences[:, 1].sum())
        self.batches = _ceil_divide(self.targets, step)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the batches of several processes."""
        self.epoch = epoch

    def __len__(self):
        return _ceil_divide(self.batches, self.processes)

    def __iter__(self) -> Iterator[np.ndarray]:
        generator = self.generator if self.processes == 1 else torch.Generator().manual_seed(self.epoch)
        chunks = cut_into_chunks(self.sequences, self.slots, generator)
        chunks = chunks[torch.randperm(len(chunks), generator=generator).numpy()]
        pool = np.cumsum(chunks[:, 1]) // (POOL * self.step)
        chunks = chunks[np.lexsort((chunks[:, 1], pool))]
        begin = np.cumsum(chunks[:, 1]) - chunks[:, 1]
        bounds = np.searchsorted(begin, np.arange(1, self.batches) * self.targets / self.batches)
        batches = np.split(chunks, bounds)
        order = torch.randperm(self.batches, generator=generator)
        order = order.repeat(2)[: len(self) * self.processes] if self.processes > 1 else order
        for index in order[self.rank :: self.processes].tolist():
            yield batches[index]


def find_sequences(samples: Samples, user: np.ndarray) -> np.ndarray:
    """Join targets of a user that follow each other to sequences.

    Args:
        samples: in any order; none twice.
        user: ``[rows]``, equal values side by side.

    Returns:
        ``[n, 2]``, the row before the first target and the number of targets of each sequence.
    """
    if isinstance(samples, SampleRuns):
        first, counts = samples.first, samples.counts
    else:
        first = samples.targets.numpy().astype(np.int64)
        counts = np.ones_like(first)
    order = np.argsort(first)
    first, counts = first[order], counts[order]
    follows = (first[1:] == first[:-1] + counts[:-1]) & (user[first[1:]] == user[first[:-1]])
    # the first run begins a sequence too, if there is one
    starts = np.flatnonzero(np.append(True, ~follows)[: len(first)])
    return np.stack([first[starts] - 1, np.add.reduceat(counts, starts) if len(starts) else starts], axis=1)


def cut_into_chunks(sequences: np.ndarray, slots: int, generator) -> np.ndarray:
    """Cut sequences longer than ``slots`` at a random offset and then every ``slots`` targets.

    Args:
        sequences: ``[n, 2]``, first row and number of targets of each.
        slots: ``L``, the longest chunk.
        generator: draws the offsets.

    Returns:
        ``[chunks, 2]``, first row and number of targets of each.
    """
    first, lengths = sequences.T
    offsets = torch.randint(0, slots, (len(sequences),), generator=generator).numpy()
    offsets = np.where(lengths > slots, offsets, 0)
    # the part before the offset is a chunk of its own, unless it is empty
    whole = _ceil_divide(lengths - offsets, slots)
    pieces = whole + (offsets > 0)
    owner = np.repeat(np.arange(len(sequences)), pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    number -= (offsets > 0)[owner]
    begin = np.where(number < 0, 0, offsets[owner] + number * slots)
    end = np.where(number < 0, offsets[owner], np.minimum(offsets[owner] + (number + 1) * slots, lengths[owner]))
    return np.stack([first[owner] + begin, end - begin], axis=1)


def _ceil_divide(number, divisor):
    """Divide integers, or an array of them, and round up."""
    return -(-number // divisor)
