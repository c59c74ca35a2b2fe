"""Read the complete history of every user, for recommendations of what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_echomamba.data.run_ids import RunIds
from recbole_echomamba.data.samples import ListedSamples, find_run_starts
from recbole_echomamba.data.windowed_interaction import WindowedInteraction
from recbole_echomamba.system.errors import UserError


@dataclass
class HistoryBatch:
    """The histories of B users.

    Attributes:
        user_ids: the users' own ids, B of them.
        window: what the model reads: the last L interactions of each history, in RecBole's columns.
        seen_rows, seen_items: row in the batch and internal item id of every interaction of the complete histories, ``[N]``.
    """

    user_ids: list[str]
    window: Interaction
    seen_rows: Tensor
    seen_items: Tensor


def pad_histories(dataset, histories: Sequence[np.ndarray], user_ids: list[str]) -> HistoryBatch:
    """Return histories that belong to no user of the dataset as a batch.

    Args:
        dataset: a dataset after :func:`.data_preparation`, or a :class:`.RunIds`.
        histories: internal item ids of each, oldest first.
        user_ids: what to call each.

    Raises:
        UserError: a history is empty.
    """
    lengths = np.array([len(history) for history in histories])
    if not lengths.all():
        empty = user_ids[int(np.argmin(lengths))]
        raise UserError(f"the history of {empty!r} holds no known item; name at least one item of the dataset")
    columns = (
        dataset.empty_rows(len(histories)) if isinstance(dataset, RunIds) else _empty_rows(dataset, len(histories))
    )
    slots = dataset.max_item_list_len
    newest = columns[dataset.iid_field + dataset.config["LIST_SUFFIX"]]
    for row, history in zip(newest, histories, strict=True):
        last = torch.as_tensor(history[-slots:])
        row[: len(last)] = last
    columns[dataset.item_list_length_field][:] = torch.as_tensor(np.minimum(lengths, slots))
    return HistoryBatch(
        user_ids=user_ids,
        window=Interaction(columns),
        seen_rows=torch.as_tensor(np.repeat(np.arange(len(histories)), lengths)),
        seen_items=torch.as_tensor(np.concatenate(histories)),
    )


def _empty_rows(dataset, n: int) -> dict[str, Tensor]:
    """Return all columns that the model may read, filled with zeros, ``[n, ...]`` each."""
    # any row of the dataset has them
    row = dataset[np.array([0])]
    return {field: torch.zeros((n, *column.shape[1:]), dtype=column.dtype) for field, column in row.interaction.items()}


class Histories:
    """The complete histories of a dataset's users.

    After :func:`.data_preparation` RecBole's dataset has one row for every interaction but the first of each user: the
    interaction as the target, with those before it as the history. The complete history of a user is therefore their last row
    with its target appended. Our :class:`.WindowedInteraction` has every interaction, so that users with a single one have a
    history too.

    Args:
        dataset: a dataset after :func:`.data_preparation`, such as that of :func:`.load_run`.

    Attributes:
        users: internal ids of the users who have a history, ascending, ``[U]``.
        internal_ids: the internal id of each of these users by the user's own id.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        samples = dataset.inter_feat
        self._windowed = samples if isinstance(samples, WindowedInteraction) else None
        columns = samples if self._windowed is None else self._windowed.flat
        user_of_row = columns[dataset.uid_field].numpy()
        self._order = None
        if self._windowed is None:
            # The rows of a user are in the order of time, and a stable sort by user keeps that order.
            self._order = np.argsort(user_of_row, kind="stable")
            user_of_row = user_of_row[self._order]
        self._starts = find_run_starts(user_of_row)
        self._counts = np.diff(np.append(self._starts, len(user_of_row)))
        self.users = user_of_row[self._starts]
        own_ids = dataset.id2token(dataset.uid_field, self.users)
        self.internal_ids = dict(zip(own_ids, self.users, strict=True))
        self._items = columns[dataset.iid_field]
        self._list_suffix = dataset.config["LIST_SUFFIX"]
        self._item_list_field = dataset.iid_field + self._list_suffix

    def iterate_batches(self, users: np.ndarray, batch_size: int) -> Iterator[HistoryBatch]:
        """Yield the complete histories of up to ``batch_size`` users at a time.

        Args:
            users: internal ids of users from :attr:`users`.
            batch_size: number of users in a batch.
        """
        for start in range(0, len(users), batch_size):
            yield self._read_batch(users[start : start + batch_size])

    def _read_batch(self, users: np.ndarray) -> HistoryBatch:
        places = np.searchsorted(self.users, users)
        starts, counts = self._starts[places], self._counts[places]
        rows = [np.arange(start, start + count) for start, count in zip(starts, counts, strict=True)]
        if self._order is not None:
            rows = [self._order[row] for row in rows]
        last_rows = self._read_rows(np.array([row[-1] for row in rows]), counts)
        seen_rows, seen_items = self._list_seen(rows)
        return HistoryBatch(
            user_ids=self.dataset.id2token(self.dataset.uid_field, users).astype(str).tolist(),
            window=self._append_targets(last_rows),
            seen_rows=seen_rows,
            seen_items=seen_items,
        )

    def _read_rows(self, last_rows: np.ndarray, counts: np.ndarray) -> Interaction:
        """Return the last row of each user with the history before it, which is empty if it is their only one."""
        if self._windowed is None:
            return self.dataset[last_rows]
        lengths = np.minimum(counts - 1, self._windowed.slots)
        samples = self._windowed.with_samples(ListedSamples(torch.from_numpy(last_rows), torch.from_numpy(lengths)))
        return self.dataset.join(samples.cut(slice(None)))

    def _append_targets(self, rows: Interaction) -> Interaction:
        """Append the target of each row to its lists of past values, and drop the oldest value of a list that is full."""
        length_field = self.dataset.item_list_length_field
        lengths = rows[length_field]
        row_numbers = torch.arange(len(lengths))
        columns = dict(rows.interaction)
        for field in rows.interaction:
            list_field = field + self._list_suffix
            if list_field not in columns:
                continue
            past = columns[list_field]
            longer = torch.cat([past, torch.zeros_like(past[:, :1])], dim=1)
            longer[row_numbers, lengths] = rows[field].to(past.dtype)
            # Lists of sequences have a third dimension.
            is_full = lengths == past.shape[1]
            while is_full.dim() < past.dim():
                is_full = is_full.unsqueeze(-1)
            columns[list_field] = torch.where(is_full, longer[:, 1:], longer[:, :-1])
        columns[length_field] = (lengths + 1).clamp(max=self.dataset.max_item_list_len)
        return Interaction(columns)

    def _list_seen(self, rows: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Return row in the batch and internal item id of every interaction.

        Args:
            rows: the rows of each user in the dataset, oldest first.
        """
        row_numbers = np.arange(len(rows))
        row_of_item = torch.as_tensor(np.repeat(row_numbers, [len(row) for row in rows]))
        items = self._items[np.concatenate(rows)].long()
        if self._windowed is not None:
            return row_of_item, items
        # A user's first interaction is the target of no row; it is the only item in the history of their first row. In split
        # files any history may hold items that are the target of no row; the last one has the newest of them.
        ends = [row[0] for row in rows]
        if self.dataset.config["benchmark_filename"]:
            ends += [row[-1] for row in rows]
        lists = self.dataset[np.array(ends)][self._item_list_field]
        listed = lists > 0
        row_of_end = torch.as_tensor(np.resize(row_numbers, len(ends)))
        row_of_listed = row_of_end[:, None].expand_as(lists)[listed]
        return torch.cat([row_of_listed, row_of_item]), torch.cat([lists[listed], items])
