"""Histories as windows into flat columns instead of a padded copy for every prefix.

RecBole turns ``<i1, i2, i3>`` into the samples ``<i1> | i2`` and ``<i1, i2> | i3`` and stores each padded to ``L`` slots, for
every column. Here a sample is the row of its target and the length of its history; windows are cut out when a batch is read.
"""

from __future__ import annotations

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor


class WindowedInteraction(Interaction):
    """Samples of a sequential data set, in RecBole's form but cut out on demand.

    Args:
        flat: columns of all interactions, ordered by user and time: int32 ids, float32 values.
        targets: ``[n]`` rows of the targets. lengths: ``[n]``, how many rows before it are the history.
        lists: field to the name of its list. length_field: name of the lengths. slots: ``L``, the width of a list.
        fields: names, when some have been dropped.
    """

    def __init__(
        self,
        flat: dict[str, Tensor],
        targets: Tensor,
        lengths: Tensor,
        lists: dict[str, str],
        length_field: str,
        slots: int,
        fields: list[str] | None = None,
    ):
        self.flat, self.targets, self.lengths = flat, targets, lengths
        self.lists, self.length_field, self.slots = lists, length_field, slots
        self.fields = [*flat, length_field, *lists.values()] if fields is None else fields

    @property
    def length(self) -> int:
        """The number of samples."""
        return len(self.targets)

    @property
    def interaction(self) -> dict[str, Tensor]:
        """Every field of every sample: what RecBole would hold."""
        return {field: self[field] for field in self.fields}

    def __getattr__(self, name):
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __iter__(self):
        return iter(self.fields)

    def __contains__(self, field):
        return field in self.fields

    def __len__(self):
        return self.length

    def __str__(self):
        return (
            f"{self.length} samples over {len(next(iter(self.flat.values())))} interactions: {', '.join(self.fields)}"
        )

    @property
    def columns(self) -> list[str]:
        """The names of the fields."""
        return list(self.fields)

    def __getitem__(self, index):
        """A field of all samples, or fewer samples."""
        if isinstance(index, str):
            return self._column(index, slice(None))
        part = self._part(index)
        shared = (self.lists, self.length_field, self.slots, list(self.fields))
        return WindowedInteraction(self.flat, self.targets[part], self.lengths[part], *shared)

    def cut(self, index) -> Interaction:
        """The samples of ``index`` (integers, a slice, a tensor or an array) with their windows, right-padded with 0."""
        part = self._part(index)
        return Interaction({field: self._column(field, part) for field in self.fields})

    def _part(self, index):
        if isinstance(index, range | list | tuple):
            index = np.asarray(index) if len(index) else np.zeros(0, np.int64)
        if isinstance(index, np.ndarray):
            index = torch.from_numpy(index)
        return index if isinstance(index, slice | Tensor) else torch.tensor([index])

    def _column(self, field, part) -> Tensor:
        targets, lengths = self.targets[part].long(), self.lengths[part].long()
        if field == self.length_field:
            return lengths
        if field in self.flat:
            return _widened(self.flat[field][targets])
        source = next(name for name, list_name in self.lists.items() if list_name == field)
        slots = torch.arange(self.slots)
        inside = slots < lengths[:, None]
        rows = (targets - lengths)[:, None] + slots
        values = self.flat[source].take(torch.where(inside, rows, 0))
        return _widened(values.masked_fill_(~inside, 0))

    def drop(self, column):
        """Forget a field."""
        self.fields.remove(column)

    def sort(self, by, ascending=True):
        """Order the samples by one field or by several, the first weighing most; equal ones keep their order."""
        fields = [by] if isinstance(by, str) else list(by)
        directions = [ascending] * len(fields) if isinstance(ascending, bool) else list(ascending)
        for field, upward in reversed(list(zip(fields, directions, strict=True))):
            order = np.argsort(self[field].numpy(), kind="stable")
            self._reindex(order if upward else order[::-1].copy())

    def _reindex(self, index):
        part = self._part(index)
        self.targets, self.lengths = self.targets[part], self.lengths[part]


def _widened(values: Tensor) -> Tensor:
    """RecBole's models index embeddings with int64."""
    return values.long() if values.dtype == torch.int32 else values


def run_starts(values: np.ndarray) -> np.ndarray:
    """Where in ``[n]`` a run of equal values begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])


def windows(user: np.ndarray, slots: int) -> tuple[Tensor, Tensor]:
    """Targets and history lengths of all samples: every row but each user's first.

    Args:
        user: ``[n]``, equal values side by side. slots: the longest history ``L``.
    """
    starts = run_starts(user)
    targets = np.flatnonzero(user[1:] == user[:-1])
    targets += 1
    position = targets - np.repeat(starts, np.diff(np.append(starts, len(user))) - 1)
    kind = np.int32 if len(user) < 2**31 else np.int64
    return torch.from_numpy(targets.astype(kind)), torch.from_numpy(np.minimum(position, slots).astype(np.int32))


def leave_out(user: Tensor, time: Tensor, left: int) -> list[np.ndarray]:
    """Split samples by leave-one-out: all but the last of each user, and ``left`` parts with one of the last each.

    A user with fewer than ``left + 1`` samples keeps the first for training and gives the others to the last parts. Users come
    in the order of their first sample in time, as RecBole's do, who sorts all samples by time before it groups them.

    Args:
        user: ``[n]``, equal values side by side. time: ``[n]``, ascending within a user.

    Returns:
        ``left + 1`` arrays of sample numbers, training first.
    """
    user = user.numpy()
    starts = run_starts(user)
    counts = np.diff(np.append(starts, len(user)))
    order = np.argsort(time.numpy()[starts], kind="stable")
    starts, counts = starts[order], counts[order]
    given = np.minimum(left, counts - 1)
    kept = counts - given
    offsets = np.cumsum(kept) - kept
    train = np.arange(kept.sum()) + np.repeat(starts - offsets, kept)
    parts = [train]
    for part in range(left, 0, -1):
        has = given >= part
        parts.append((starts + counts - part)[has])
    return parts
