"""Find and split the samples of interactions that are ordered by user and time.

A sample is the row of its target and the length of its history. They are computed from the runs of rows that users have, so that
nothing is stored for each sample: :class:`SampleRuns`. Samples in any other order are listed: :class:`ListedSamples`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

MAX_LISTED = 2**27
"""The most samples, 134 million, that are put in RecBole's order, which takes a list of them: 1 GiB."""

BLOCK = 2**22
"""Values of a column of all interactions that are looked at together."""


class ListedSamples:
    """Samples in any order.

    Args:
        targets: ``[n]``, the row of each sample's target.
        lengths: ``[n]``, how many rows before the target are the history.
    """

    def __init__(self, targets: Tensor, lengths: Tensor):
        self.targets, self.lengths = targets, lengths

    def __len__(self):
        return len(self.targets)

    def read(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of the targets and the lengths of some samples, ``[B]`` each in int64."""
        return self.targets[index].long(), self.lengths[index].long()

    def select(self, index: slice | Tensor) -> ListedSamples:
        """Return some of the samples."""
        return ListedSamples(self.targets[index], self.lengths[index])


class SampleRuns:
    """Samples whose targets are runs of rows, one run after the other; target and length follow from a sample's number.

    Args:
        first: ``[runs]``, the row of the first target of each run.
        counts: ``[runs]``, the number of targets of each run.
        begin: ``[runs]``, the first row of the run's user, where the histories begin.
        slots: ``L``, the longest history.
    """

    def __init__(self, first: np.ndarray, counts: np.ndarray, begin: np.ndarray, slots: int):
        self.first, self.counts, self.begin, self.slots = first, counts, begin, slots
        self._ends = torch.from_numpy(np.cumsum(counts, dtype=np.int64))

    def __len__(self):
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, index: slice | Tensor, dtype: torch.dtype = torch.int64) -> tuple[Tensor, Tensor]:
        """Return the rows of the targets and the lengths of some samples, ``[B]`` each."""
        numbers = self._numbers(index)
        targets, lengths = torch.empty((2, len(numbers)), dtype=dtype)
        for block in iterate_blocks(len(numbers)):
            targets[block], lengths[block] = self._compute(torch.as_tensor(numbers[block]))
        return targets, lengths

    def _compute(self, number: Tensor) -> tuple[Tensor, Tensor]:
        run = torch.searchsorted(self._ends, number, right=True)
        first, counts, begin = (torch.from_numpy(column)[run] for column in (self.first, self.counts, self.begin))
        targets = first + number - (self._ends[run] - counts)
        return targets, (targets - begin).clamp_(max=self.slots)

    def select(self, index: slice | Tensor) -> ListedSamples:
        """Return some of the samples, listed in 32 bits where they suffice."""
        last = (self.first + self.counts).max(initial=0)
        return ListedSamples(*self.read(index, torch.int32 if last <= 2**31 else torch.int64))

    def _numbers(self, index: slice | Tensor) -> np.ndarray:
        """Return the numbers of the samples that an index chooses, as that of a tensor would."""
        n = len(self)
        if isinstance(index, slice):
            return np.arange(*index.indices(n))
        if index.dtype == torch.bool:
            if len(index) != n:
                raise IndexError(f"a mask of {len(index)} values cannot choose among {n} samples")
            return np.flatnonzero(index)
        index = index.numpy()
        if len(index) and not -n <= index.min() <= index.max() < n:
            raise IndexError(f"there are only {n} samples")
        return np.where(index < 0, index + n, index)


class DeferredSamples:
    """Samples that are listed when they are first read.

    Args:
        n: the number of samples.
        make: returns them.
    """

    def __init__(self, n: int, make: Callable[[], ListedSamples]):
        self._n, self._make = n, make
        self._listed: ListedSamples | None = None

    def __len__(self):
        return self._n

    def read(self, index: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of the targets and the lengths of some samples, ``[B]`` each in int64."""
        return self._list().read(index)

    def select(self, index: slice | Tensor) -> ListedSamples:
        """Return some of the samples."""
        return self._list().select(index)

    def _list(self) -> ListedSamples:
        if self._listed is None:
            self._listed = self._make()
        return self._listed


Samples = ListedSamples | SampleRuns | DeferredSamples


def iterate_blocks(n: int) -> Iterator[slice]:
    """Yield slices that cover ``0..n-1``, :data:`BLOCK` values each."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def find_run_starts(values: np.ndarray) -> np.ndarray:
    """Return the positions in ``values [n]`` at which a run of equal values begins."""
    found = [np.zeros(min(len(values), 1), np.int64)]
    for block in iterate_blocks(len(values) - 1):
        after = slice(block.start + 1, block.stop + 1)
        found.append(np.flatnonzero(values[after] != values[block]) + after.start)
    return np.concatenate(found)


def find_samples(user: np.ndarray, slots: int) -> SampleRuns:
    """Find the samples of all users: each row is a target but the first of each user.

    Args:
        user: ``[rows]``, equal values side by side.
        slots: ``L``, the longest history.
    """
    begin = find_run_starts(user)
    counts = np.diff(np.append(begin, len(user))) - 1
    begin, counts = begin[counts > 0], counts[counts > 0]
    return SampleRuns(begin + 1, counts, begin, slots)


def split_leave_one_out(samples: SampleRuns, time: np.ndarray, held_out: int) -> list[SampleRuns]:
    """Split samples into one part for training and ``held_out`` parts with one of the last samples of each user.

    A user with fewer than ``held_out + 1`` samples keeps the first for training and gives the others to the last parts. Users
    are in the order of the time of their first sample, as in RecBole, which sorts all samples by time before it groups them.

    Args:
        samples: one run for each user.
        time: ``[rows]``, ascending within a user.
        held_out: the number of parts that are not for training.

    Returns:
        ``held_out + 1`` parts, training first.
    """
    order = np.argsort(time[samples.first], kind="stable")
    first, counts, begin = (column[order] for column in (samples.first, samples.counts, samples.begin))
    given = np.minimum(held_out, counts - 1)
    parts = [SampleRuns(first, counts - given, begin, samples.slots)]
    for part in range(held_out, 0, -1):
        has = given >= part
        last = (first + counts - part)[has]
        parts.append(SampleRuns(last, np.ones_like(last), begin[has], samples.slots))
    return parts


def join_samples(parts: Sequence[Samples]) -> Samples:
    """Return the samples of several parts, one part after the other."""
    if all(isinstance(part, SampleRuns) for part in parts):
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("first", "counts", "begin"))
        return SampleRuns(*columns, parts[0].slots)
    targets, lengths = (torch.cat(column) for column in zip(*(part.read(slice(None)) for part in parts), strict=True))
    return ListedSamples(targets, lengths)


def count_reordered_users(user: np.ndarray, time: np.ndarray) -> int:
    """Count the users whose last row is not the one that their exact times put last.

    Args:
        user: ``[n]``, equal values side by side.
        time: ``[n]``, the exact times.
    """
    starts = find_run_starts(user)
    ends = np.append(starts[1:], len(user))
    # of equal times the later row is last in both orders
    return int((time[ends - 1] < np.maximum.reduceat(time, starts)).sum()) if len(starts) else 0


def measure_future(train_times: np.ndarray, test_times: np.ndarray) -> float:
    """Return the share of training interactions that are later than a test target, averaged over the test targets.

    Zero for a split by global time; near one half for leave-one-out where users come and go.

    Args:
        train_times: the time of every training interaction, in any order.
        test_times: the time of every test target.
    """
    if not len(train_times) or not len(test_times):
        return 0.0
    earlier = np.searchsorted(np.sort(train_times), test_times, side="right")
    return float(1 - earlier.mean() / len(train_times))
