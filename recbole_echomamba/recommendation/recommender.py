"""Recommend the top-k items from a run directory, for complete histories and with the dataset's own ids."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dataset_prep.words import count
from recbole_echomamba import ops
from recbole_echomamba.data.dataloader import limit_batch_size
from recbole_echomamba.data.histories import Histories, HistoryBatch, pad_histories
from recbole_echomamba.data.run_ids import DataNeeded, RunIds
from recbole_echomamba.data.transform import construct_transform
from recbole_echomamba.experiment import load_run, load_without_data
from recbole_echomamba.models.base import has_linear_scores
from recbole_echomamba.recommendation.best_items import find_best, score_items
from recbole_echomamba.recommendation.files import read_titles
from recbole_echomamba.recommendation.ids import find_item_ids, mark_allowed_items, select_users
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.terminal import progress_bar
from recbole_echomamba.training.checkpoint import kept_random_states

HISTORY_USER_ID = "history"
"""The ``user_id`` of a single history that belongs to no user of the dataset."""


class Recommender:
    """A trained model with the ids of its items, kept in memory to be asked many times, from several threads too.

    Histories need the run directory alone, for models that read nothing else; users and all other models need the data that
    the run was trained on, or later ones, which are read when they are needed first. Make one with :meth:`load`.

    Args:
        config: the settings of the run.
        model: the trained model.
        dataset: the dataset, or a :class:`.RunIds` where it is not read yet.
        source: the run directory and the arguments of :meth:`load`, to read the data later.
    """

    def __init__(self, config, model, dataset, source: tuple):
        self.config = config
        self.model = model
        self.dataset = dataset
        self._source = source
        self._transform = construct_transform(config)
        self._histories: Histories | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(cls, run: Path | str, model: str | type | None = None, config_dict: dict | None = None) -> Recommender:
        """Load a run.

        Args:
            run: run directory of the trained model.
            model: the class of a custom model or ``module:Class``, see :func:`.load_run`.
            config_dict: settings to change, such as ``data_path`` or ``gpu_id``.

        Raises:
            MissingFileError: the run directory or one of its files does not exist; the data, if the model needs them.
            UserError: a setting cannot change, or a file is damaged.
        """
        source = (run, model, config_dict)
        with kept_random_states():
            try:
                return cls(*load_without_data(*source), source)
            except DataNeeded:
                return cls(*load_run(*source)[:3], source)

    def recommend(
        self,
        users: Iterable[str] | None = None,
        histories: Mapping[str, Sequence[str]] | Sequence[Sequence[str]] | None = None,
        topk: int = 10,
        items: Iterable[str] | Sequence[Iterable[str]] | None = None,
        exclude_seen: bool = False,
        skip_unknown: bool = False,
        titles: bool = False,
    ) -> pd.DataFrame:
        """Return the ``topk`` items with the highest scores for each user or history.

        The model reads the end of each complete history, including the interactions held out for validation and test.

        Args:
            users: user ids; by default, and without ``histories``, all users.
            histories: item ids, oldest first, of people who need not be in the dataset: a list of histories, or a mapping from
                what to call each to its items. A model with an embedding per user gets that of the padding user.
            topk: number of items for each.
            items: item ids; only these are recommended. A list of lists gives each user or history items of its own; none of
                them may then be repeated or left out.
            exclude_seen: do not recommend items of the history.
            skip_unknown: leave out ids that are not in the dataset and log a warning that lists them.
            titles: add the column ``title`` from the dataset's ``.item`` file.

        Returns:
            A table with the columns ``user_id, item_id, rank, score``; rank 1 is the best. ``user_id`` of a list of histories is
            the position, from 0. There are fewer than ``topk`` rows where fewer items can be recommended.

        Raises:
            MissingFileError: the dataset or the ``.item`` file does not exist.
            UserError: an id is unknown, there is no user or item left, or an argument cannot be used.
        """
        _check_arguments(topk, users, histories, items)
        title_of = read_titles(self.config) if titles else None
        items = None if items is None else list(items)
        per_row = bool(items) and not isinstance(items[0], str | int | np.integer)
        by_blocks = has_linear_scores(type(self.model)) and not per_row
        n_rows, batches = self._make_batches(users, histories, skip_unknown, by_blocks)
        if per_row:
            allowed = self._find_allowed_per_row(items, n_rows, skip_unknown)
        else:
            allowed = mark_allowed_items(self.dataset, items, skip_unknown)
        user_ids, best = [], []
        with progress_bar(n_rows, "recommend", self.config["show_progress"]) as bar:
            for batch in batches:
                first = len(user_ids)
                user_ids += batch.user_ids
                own = allowed[first : len(user_ids)] if per_row else allowed
                best.append(self._find_best(batch, topk, own, exclude_seen))
                bar.update(len(batch.user_ids))
        scores, numbers = map(torch.cat, zip(*best, strict=True))
        n_without = int((scores[:, 0] == -torch.inf).sum())
        if n_without == len(scores):
            raise UserError("no item is left to recommend: with exclude_seen the users have seen all allowed items")
        if n_without:
            logging.getLogger().warning(
                "%s no recommendations: all allowed items are seen", count(n_without, "user gets", "users get")
            )
        table = self._make_table("user_id", user_ids, "item_id", numbers, scores)
        if title_of is not None:
            table["title"] = table["item_id"].map(title_of)
        return table

    def similar(self, items: Iterable[str], topk: int = 10) -> pd.DataFrame:
        """Return the ``topk`` items whose embeddings have the largest cosine with that of each given item.

        Args:
            items: item ids.
            topk: number of items for each.

        Returns:
            A table with the columns ``item_id, similar_id, rank, score``; the item itself is left out.

        Raises:
            UserError: an item is unknown, or the model has no item embedding.
        """
        _check_arguments(topk, items)
        embedding = getattr(self.model, "item_embedding", None)
        if not isinstance(embedding, torch.nn.Embedding):
            raise UserError(f"{self.config['model']} has no item embedding to compare items by")
        asked = list(map(str, items))
        numbers = torch.as_tensor(find_item_ids(self.dataset, asked, skip_unknown=False))
        with torch.no_grad():
            vectors = torch.nn.functional.normalize(embedding.weight[: self.dataset.item_num].float(), dim=1)
            scores = (vectors[numbers] @ vectors.T).cpu()
        # the padding item and the item itself
        scores[:, 0] = -torch.inf
        scores[torch.arange(len(numbers)), numbers] = -torch.inf
        scores, similar = ops.top_k(scores, min(topk, scores.shape[1]))
        return self._make_table("item_id", asked, "similar_id", similar, scores)

    def _make_batches(
        self, users, histories, skip_unknown: bool, by_blocks: bool
    ) -> tuple[int, Iterator[HistoryBatch]]:
        """Return how many users or histories there are, and their batches, which are large where items rank by blocks."""
        largest = self.config["eval_batch_size"]
        size = largest if by_blocks else limit_batch_size(self.dataset.item_num, largest)
        if histories is None:
            own = self._load_histories()
            selected = select_users(own, users, skip_unknown)
            return len(selected), own.iterate_batches(selected, size)
        named = histories if isinstance(histories, Mapping) else {str(i): items for i, items in enumerate(histories)}
        if not named:
            raise UserError("there is no history to recommend from; give at least one")
        numbers = {str(name): find_item_ids(self.dataset, items, skip_unknown) for name, items in named.items()}
        if skip_unknown and (empty := [name for name, items in numbers.items() if not len(items)]):
            logging.getLogger().warning(
                "left out %s without a known item, such as %s", count(len(empty), "history", "histories"), empty[0]
            )
            numbers = {name: items for name, items in numbers.items() if len(items)}
        if not numbers:
            raise UserError("no history holds a known item; name at least one item of the dataset")
        return len(numbers), self._pad_in_batches(list(numbers), list(numbers.values()), size)

    def _pad_in_batches(self, names: list[str], numbers: list[np.ndarray], size: int) -> Iterator[HistoryBatch]:
        for start in range(0, len(names), size):
            part = slice(start, start + size)
            yield pad_histories(self.dataset, numbers[part], names[part])

    def _load_histories(self) -> Histories:
        """Return the histories of the data, which are read when they are needed first."""
        with self._lock:
            if self._histories is None:
                if isinstance(self.dataset, RunIds):
                    with kept_random_states():
                        _, self.model, self.dataset, *_ = load_run(*self._source)
                self._histories = Histories(self.dataset)
            return self._histories

    def _find_allowed_per_row(self, items: list, n_rows: int, skip_unknown: bool) -> list[Tensor]:
        """Return the internal ids of the items that may be recommended in each row."""
        if len(items) != n_rows:
            raise UserError(f"items has {len(items)} lists for {n_rows} users or histories; give one for each")
        return [mark_allowed_items(self.dataset, each, skip_unknown).nonzero()[:, 0] for each in items]

    def _find_best(self, batch: HistoryBatch, topk: int, allowed, exclude_seen: bool) -> tuple[Tensor, Tensor]:
        """Return the highest scores and their items on the CPU; see :func:`.find_best`."""
        excluded = (batch.seen_rows, batch.seen_items) if exclude_seen else None
        return find_best(self.model, self.dataset, self._read(batch), topk, allowed, excluded, self._name)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Return the score of every item for each history, ``[B, n_items]``, on the CPU."""
        return score_items(self.model, self.dataset, self._read(batch), self._name)

    def _read(self, batch: HistoryBatch):
        """Return what the model reads of a batch, on its device."""
        return self._transform(self.dataset, batch.window).to(self.config["device"])

    def _make_table(
        self, row_name: str, rows: list[str], item_name: str, items: Tensor, scores: Tensor
    ) -> pd.DataFrame:
        """Return the best items of each row, without those that score ``-inf``.

        Args:
            row_name: the name of the first column.
            rows: what it holds, B ids.
            item_name: the name of the second column.
            items: internal item ids, ``[B, k]``.
            scores: ``[B, k]``, highest first.

        Returns:
            A table with the columns ``row_name, item_name, rank, score``.
        """
        k = scores.shape[1]
        item_ids = self.dataset.id2token(self.dataset.iid_field, items.flatten().numpy())
        columns = {
            row_name: np.repeat(np.array(rows, dtype=object), k),
            item_name: item_ids.astype(str).astype(object),
            "rank": np.tile(np.arange(1, k + 1), len(rows)),
            "score": scores.flatten().numpy(),
        }
        real = np.isfinite(columns["score"])
        return pd.DataFrame({name: column[real] for name, column in columns.items()})

    @property
    def _name(self) -> str:
        return f"{self.config['model']} of {self._source[0]}"


def recommend(
    run: Path | str,
    users: Iterable[str] | None = None,
    topk: int = 10,
    history: Sequence[str] | None = None,
    items: Iterable[str] | None = None,
    exclude_seen: bool = False,
    skip_unknown: bool = False,
    titles: bool = False,
    config_dict: dict | None = None,
    model: str | type | None = None,
    histories: Mapping[str, Sequence[str]] | Sequence[Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Load a run and return the ``topk`` items with the highest scores for each user, see :meth:`Recommender.recommend`.

    Args:
        run: run directory of the trained model.
        users: see :meth:`Recommender.recommend`.
        topk: see :meth:`Recommender.recommend`.
        history: item ids, oldest first, of a single user who is not in the dataset; their ``user_id`` is ``history``.
        items: see :meth:`Recommender.recommend`.
        exclude_seen: see :meth:`Recommender.recommend`.
        skip_unknown: see :meth:`Recommender.recommend`.
        titles: see :meth:`Recommender.recommend`.
        config_dict: settings to change, such as ``data_path`` or ``gpu_id``.
        model: the class of a custom model or ``module:Class``, see :func:`.load_run`.
        histories: see :meth:`Recommender.recommend`.

    Returns:
        A table with the columns ``user_id, item_id, rank, score``.

    Raises:
        MissingFileError: the run directory, the dataset or the ``.item`` file does not exist.
        UserError: an id is unknown, there is no user or item left, or an argument or setting cannot be used.
    """
    if history is not None:
        _check_ids("history", history)
        histories = {HISTORY_USER_ID: history}
    _check_arguments(topk, users, histories, items)
    recommender = Recommender.load(run, model, config_dict)
    return recommender.recommend(users, histories, topk, items, exclude_seen, skip_unknown, titles)


def _check_arguments(topk: int, users, histories=None, items=None) -> None:
    if topk < 1:
        raise UserError(f"topk must be at least 1, it is {topk}")
    if users is not None and histories is not None:
        raise UserError("users and histories are both given; ask for one of them")
    for name, value in (("users", users), ("histories", histories), ("items", items)):
        _check_ids(name, value)
    for value in histories.values() if isinstance(histories, Mapping) else histories or []:
        _check_ids("a history", value)


def _check_ids(name: str, value) -> None:
    if isinstance(value, str):
        raise UserError(f"{name} must be a list of ids, not the text {value!r}")
