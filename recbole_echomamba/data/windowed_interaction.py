"""Store histories as windows into flat columns instead of a padded copy of every prefix.

RecBole turns ``<i1, i2, i3>`` into the samples ``<i1> | i2`` and ``<i1, i2> | i3`` and stores each padded to ``L`` slots, for
every column. Here a sample is the row of its target and the length of its history, see :mod:`.samples`; windows are cut when a
batch is read.
"""

from __future__ import annotations

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_echomamba.data.samples import Samples


class WindowedInteraction(Interaction):
    """Samples of a sequential dataset with RecBole's fields, whose windows are cut when they are read.

    Args:
        flat: field to its column of all interactions ``[rows]``, ordered by user and time: int32 ids, float32 values.
        samples: ``n`` samples with histories of at most ``slots``.
        lists: field to the name of the field that holds its histories.
        length_field: the name of the field that holds the lengths.
        slots: ``L``, the width of a window.
        fields: the names of the fields, if some have been dropped.
    """

    def __init__(
        self,
        flat: dict[str, Tensor],
        samples: Samples,
        lists: dict[str, str],
        length_field: str,
        slots: int,
        fields: list[str] | None = None,
    ):
        self.flat = flat
        self.samples = samples
        self.lists = lists
        self.length_field = length_field
        self.slots = slots
        self.fields = [*flat, length_field, *lists.values()] if fields is None else fields

    @property
    def length(self) -> int:
        """The number of samples."""
        return len(self.samples)

    @property
    def targets(self) -> Tensor:
        """The row of each sample's target, ``[n]``."""
        return self.samples.read(slice(None))[0]

    @property
    def interaction(self) -> dict[str, Tensor]:
        """Every field of every sample, as RecBole stores them. This cuts all windows at once."""
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
        interactions = len(next(iter(self.flat.values())))
        return f"{self.length} samples over {interactions} interactions: {', '.join(self.fields)}"

    @property
    def columns(self) -> list[str]:
        """The names of the fields."""
        return list(self.fields)

    def __getitem__(self, index):
        """Return a field of all samples if ``index`` is a name, or a part of the samples."""
        if isinstance(index, str):
            return self._read_field(index, *self.samples.read(slice(None)))
        return self.with_samples(self.samples.select(_as_torch_index(index)))

    def with_samples(self, samples: Samples) -> WindowedInteraction:
        """Return other samples over the same interactions; a user's first interaction has a history of length zero."""
        fields = list(self.fields)
        return WindowedInteraction(self.flat, samples, self.lists, self.length_field, self.slots, fields)

    def cut(self, index) -> Interaction:
        """Return samples with their windows, right-padded with 0.

        Args:
            index: an integer, several of them, a slice, or a boolean tensor or array.
        """
        targets, lengths = self.samples.read(_as_torch_index(index))
        return Interaction({field: self._read_field(field, targets, lengths) for field in self.fields})

    def _read_field(self, field: str, targets: Tensor, lengths: Tensor) -> Tensor:
        if field == self.length_field:
            return lengths
        if field in self.flat:
            return _widen_ids(self.flat[field][targets])
        source = next(name for name, list_name in self.lists.items() if list_name == field)
        slots = torch.arange(self.slots)
        inside = slots < lengths[:, None]
        rows = (targets - lengths)[:, None] + slots
        values = self.flat[source].take(torch.where(inside, rows, 0))
        return _widen_ids(values.masked_fill_(~inside, 0))

    def items_before(self, index, user_field: str, item_field: str) -> tuple[Tensor, Tensor]:
        """Return the different items that each user of some samples has interacted with before the target.

        Args:
            index: the samples, ``B`` of them.
            user_field: the name of the user column.
            item_field: the name of the item column.

        Returns:
            Rows in ``0..B-1``, ascending, and item ids, both ``[pairs]``.
        """
        targets = self.samples.read(_as_torch_index(index))[0].numpy()
        user = self.flat[user_field].numpy()
        # the columns are ordered by user
        first = np.searchsorted(user, user[targets])
        counts = targets - first
        row = np.repeat(np.arange(len(targets)), counts)
        within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        items = self.flat[item_field].numpy()[np.repeat(first, counts) + within].astype(np.int64)
        # pack row and item into one number, so that one sort removes the duplicates of all rows
        base = items.max(initial=0) + 1
        pairs = np.unique(row * base + items)
        return torch.from_numpy(pairs // base), torch.from_numpy(pairs % base)

    def drop(self, column):
        """Remove a field."""
        self.fields.remove(column)

    def sort(self, by, ascending=True):
        """Sort the samples by one field or several, the first being the most significant; the sort is stable."""
        fields = [by] if isinstance(by, str) else list(by)
        directions = [ascending] * len(fields) if isinstance(ascending, bool) else list(ascending)
        for field, upward in reversed(list(zip(fields, directions, strict=True))):
            order = np.argsort(self[field].numpy(), kind="stable")
            self._reindex(order if upward else order[::-1].copy())

    def _reindex(self, index):
        self.samples = self.samples.select(_as_torch_index(index))


def _as_torch_index(index) -> slice | Tensor:
    """Convert whatever RecBole indexes samples with."""
    if isinstance(index, range | list | tuple):
        index = np.asarray(index) if len(index) else np.zeros(0, np.int64)
    if isinstance(index, np.ndarray):
        index = torch.from_numpy(index)
    if isinstance(index, Tensor):
        return index.reshape(1) if index.ndim == 0 else index
    return index if isinstance(index, slice) else torch.tensor([index])


def _widen_ids(values: Tensor) -> Tensor:
    """Convert int32 ids to int64, with which RecBole's models index embeddings."""
    return values.long() if values.dtype == torch.int32 else values
