"""Top-k recommendations from a run directory, over full histories and in the data set's own ids."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform
from tqdm import tqdm

from recbole_echomamba.data.dataloader import limit_batch_size
from recbole_echomamba.experiment import load_run
from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.files import check_writable, write_atomically

UNSEEN = "history"
"""The ``user_id`` of a person who is given by a history."""

FORMATS = (".csv", ".jsonl", ".parquet")


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
) -> pd.DataFrame:
    """The ``topk`` items with the highest scores for each user, given everything the data set holds about them.

    Args:
        run: a run directory. users: their ids, all of them when neither ``users`` nor ``history`` is given.
        history: item ids, oldest first, of a person the model never saw; models with an embedding per user see none here.
        items: ids of the only items to recommend. exclude_seen: leave out what is in the history.
        skip_unknown: go on without ids that the data set does not hold, and list them in a warning.
        titles: add the column ``title`` from the data set's ``.item`` file.
        config_dict: settings to change, such as ``data_path`` or ``gpu_id``.

    Returns:
        ``user_id, item_id, rank, score``, rank 1 first; fewer than ``topk`` rows where no more items are left.

    Raises:
        ValueError: unknown ids, no items left, or a column or ``topk`` that cannot be.
        FileNotFoundError: the run directory, the data or the ``.item`` file is missing.
    """
    if topk < 1:
        raise UserError(f"topk must be at least 1, it is {topk}")
    for name, ids in (("users", users), ("history", history), ("items", items)):
        if isinstance(ids, str):
            raise UserError(f"{name} must be a list of ids, it is the text {ids!r}")
    config, model, dataset, *_ = load_run(run, config_dict=config_dict)
    title_of = _titles(config) if titles else None
    histories, item_ids = Histories(dataset), dataset.field2token_id[dataset.iid_field]
    why = f"items, {dataset.dataset_name} does not hold them"
    allowed = torch.zeros(dataset.item_num, dtype=torch.bool)
    allowed[1:] = items is None  # 0 is the padding item
    if items is not None:
        allowed[_internal(item_ids, items, skip_unknown, why)] = True
    if not allowed.any():
        raise UserError("there is no known item to recommend")
    if history is not None:
        batches, total = [([UNSEEN], *histories.unseen(_internal(item_ids, history, skip_unknown, why)))], 1
    else:
        chosen = histories.select(users, skip_unknown)
        batches, total = (
            histories.batches(chosen, limit_batch_size(len(allowed), config["eval_batch_size"])),
            len(chosen),
        )

    found, transform = [], construct_transform(config)
    with tqdm(total=total, unit="user", desc="recommend", disable=not config["show_progress"]) as bar, torch.no_grad():
        for names, window, seen in batches:
            scores = model.full_sort_predict(transform(dataset, window).to(config["device"]))
            scores = scores.view(len(names), -1)[:, : len(allowed)].float().cpu()
            if torch.isnan(scores).any():
                raise UserError(f"{config['model']} gives NaN scores; the run in {run} did not converge")
            scores[:, ~allowed] = -torch.inf
            if exclude_seen:
                scores[seen] = -torch.inf
            found.append(_best(names, scores, min(topk, len(allowed))))
            bar.update(len(names))
    table = pd.concat(found, ignore_index=True)
    if not len(table):
        raise UserError("there is no item left to recommend: exclude_seen leaves out all that are allowed")
    if without := total - table["user_id"].nunique():
        logging.getLogger().warning("%d users get nothing: they have seen all items that are allowed", without)
    table.insert(1, "item_id", dataset.id2token(dataset.iid_field, table.pop("item").to_numpy()).astype(str))
    return table if title_of is None else table.assign(title=table["item_id"].map(title_of))


class Histories:
    """The complete history of every user of a data set that :func:`load_run` built.

    Such a data set holds a row for every interaction but a user's first: the target, and the items before it. A user's last
    row with its target appended is therefore the whole history, the newest item included.

    Attributes:
        users: internal ids of all users with two interactions or more, ascending. user_ids: their own ids to internal ones.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        rows = dataset.inter_feat[dataset.uid_field].numpy()
        self._order = np.argsort(rows, kind="stable")  # by user, and by time within one
        self.users, self._first, self._counts = np.unique(rows[self._order], return_index=True, return_counts=True)
        self.user_ids = dict(zip(dataset.id2token(dataset.uid_field, self.users), self.users, strict=True))
        self._targets = dataset.inter_feat[dataset.iid_field]
        self._suffix = dataset.config["LIST_SUFFIX"]

    def select(self, users: Iterable[str] | None, skip_unknown: bool) -> np.ndarray:
        """Internal ids of the users named, or of all; those with a single interaction are unknown, RecBole drops them."""
        if users is None:
            chosen, single = self.users, self.dataset.user_num - 1 - len(self.users)
            if single:
                logging.getLogger().warning("%d users without two interactions of known items are left out", single)
        else:
            kept = self.dataset.config["user_inter_num_interval"]
            why = f"users, {self.dataset.dataset_name} (user_inter_num_interval {kept}) does not hold two interactions of theirs"
            chosen = _internal(self.user_ids, dict.fromkeys(users), skip_unknown, why)
        if not len(chosen):
            raise UserError("there is no user to recommend to")
        return chosen

    def batches(self, users: np.ndarray, step: int):
        """``names, window, seen`` for up to ``step`` users at a time.

        ``names`` are the users' own ids, ``window`` an Interaction with the last ``L`` items of each history, and ``seen``
        the (row, item) pairs of the complete history.
        """
        for start in range(0, len(users), step):
            chunk = users[start : start + step]
            place = np.searchsorted(self.users, chunk)
            rows = [
                self._order[first : first + count]
                for first, count in zip(self._first[place], self._counts[place], strict=True)
            ]
            names = self.dataset.id2token(self.dataset.uid_field, chunk).astype(str).tolist()
            yield names, self._window(self.dataset[np.array([row[-1] for row in rows])]), self._seen(rows)

    def unseen(self, items: np.ndarray):
        """``window, seen`` of a history of internal item ids that belongs to no user."""
        if not len(items):
            raise UserError("the history holds no known item")
        dataset, length = self.dataset, self.dataset.max_item_list_len
        window = {field: torch.zeros_like(column) for field, column in dataset[np.array([0])].interaction.items()}
        kept = torch.as_tensor(items[-length:])
        window[dataset.iid_field + self._suffix][0, : len(kept)] = kept
        window[dataset.item_list_length_field][0] = len(kept)
        return Interaction(window), (torch.zeros(len(items), dtype=torch.long), torch.as_tensor(items))

    def _window(self, rows: Interaction) -> Interaction:
        """The same rows one interaction later: each list with its field's target appended, its oldest entry out if full."""
        length = rows[self.dataset.item_list_length_field]
        each, columns = torch.arange(len(length)), dict(rows.interaction)
        for field in rows.interaction:
            past = columns.get(field + self._suffix)
            if past is None:
                continue
            longer = torch.cat([past, torch.zeros_like(past[:, :1])], dim=1)
            longer[each, length] = rows[field]
            full = (length == past.shape[1]).view(-1, *[1] * (past.dim() - 1))
            columns[field + self._suffix] = torch.where(full, longer[:, 1:], longer[:, :-1])
        columns[self.dataset.item_list_length_field] = (length + 1).clamp(max=self.dataset.max_item_list_len)
        return Interaction(columns)

    def _seen(self, rows: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        oldest = self.dataset[np.array([row[0] for row in rows])][self.dataset.iid_field + self._suffix][:, 0]
        users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        items = torch.cat([oldest, self._targets[np.concatenate(rows)]])
        return torch.as_tensor(np.concatenate([np.arange(len(rows)), users])), items


def write_recommendations(table: pd.DataFrame, file: Path | str) -> None:
    """Write CSV, JSON lines or Parquet, by the ending of the name; whole or not at all."""
    check_format(file)
    writers = {
        ".csv": lambda to: table.to_csv(to, index=False),
        ".jsonl": lambda to: table.to_json(to, orient="records", lines=True, force_ascii=False),
        ".parquet": lambda to: table.to_parquet(to, index=False),
    }
    write_atomically(file, writers[Path(file).suffix])


def check_format(file: Path | str) -> None:
    """Raise ValueError or FileNotFoundError when recommendations cannot be written to ``file``."""
    if Path(file).suffix not in FORMATS:
        raise UserError(f"cannot tell the format of {file}; end its name in {', '.join(FORMATS)}")
    check_writable(file)


def read_ids(file: Path | str) -> list[str]:
    """The ids in a file, one on a line, in UTF-8; empty lines do not count."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingFileError(f"there is no file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} cannot be read ({error}); it must be a text file in UTF-8, an id on each line"
        ) from None
    return [line for line in text.split("\n") if line.strip()]


def _best(names: list[str], scores: torch.Tensor, k: int) -> pd.DataFrame:
    score, item = scores.topk(k)
    columns = {
        "user_id": np.repeat(names, k),
        "item": item.flatten().numpy(),
        "rank": np.tile(np.arange(1, k + 1), len(names)),
        "score": score.flatten().numpy(),
    }
    return pd.DataFrame(columns)[score.flatten().isfinite().numpy()]


def _internal(known: dict[str, int], tokens: Iterable[str], skip_unknown: bool, why: str) -> np.ndarray:
    """Internal ids of a data set's own, in the order given; ``why`` says in an error what unknown ones are."""
    found, unknown = [], []
    for token in map(str, tokens):
        if token in known and token != "[PAD]":
            found.append(known[token])
        else:
            unknown.append(token)
    if unknown:
        listed = ", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        if not skip_unknown:
            raise UserError(f"unknown {why} after its filters: {listed}; --skip-unknown goes on without")
        logging.getLogger().warning("skipped unknown %s: %s", why, listed)
    return np.array(found, dtype=np.int64)


def _titles(config) -> dict[str, str]:
    """Item id to title, from the first column of the ``.item`` file whose name holds ``title`` or ``name``."""
    file = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not file.is_file():
        raise MissingFileError(f"there are no titles: {file} does not exist")
    try:
        lines = file.read_text(encoding=config["encoding"] or "utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} cannot be decoded ({error}); name its --encoding, or write it as utf-8") from None
    rows = [line.split(config["field_separator"]) for line in lines if line]
    header = [column.partition(":")[0] for column in rows[0]] if rows else []
    column = next((i for i, name in enumerate(header) if "title" in name or "name" in name), None)
    if column is None or config["ITEM_ID_FIELD"] not in header:
        raise UserError(f"{file}, line 1: no column is called a title or name (it has {', '.join(header)})")
    place = header.index(config["ITEM_ID_FIELD"])
    return {row[place]: row[column] for row in rows[1:] if len(row) > max(place, column)}
