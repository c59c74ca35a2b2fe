"""Recommend the top-k items from a run directory, for complete histories and with the dataset's own ids."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from dataset_prep.atomic_file import split_row
from recbole_echomamba.config.checks import FILTERS
from recbole_echomamba.data.atomic_file import read_header
from recbole_echomamba.data.dataloader import limit_batch_size
from recbole_echomamba.data.histories import Histories, HistoryBatch
from recbole_echomamba.data.transform import construct_transform
from recbole_echomamba.data.windowed_dataset import WindowedDataset
from recbole_echomamba.experiment import load_run
from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.files import check_writable, read_text, write_atomically
from recbole_echomamba.training.evaluation import check_scores

PADDING_TOKEN = "[PAD]"
"""RecBole's name for the padding item and the padding user, whose internal id is 0."""

FILE_FORMATS = (".csv", ".jsonl", ".parquet")

MAX_LISTED_IDS = 10
"""How many unknown ids a message lists."""


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
) -> pd.DataFrame:
    """Return the ``topk`` items with the highest scores for each user.

    The model reads the end of each user's complete history, including the interactions held out for validation and test.

    Args:
        run: run directory of the trained model.
        users: user ids; by default all users.
        topk: number of items per user.
        history: item ids, oldest first, of a single user who is not in the dataset; replaces ``users``. A model with an
            embedding per user gets that of the padding user.
        items: item ids; only these are recommended. By default all items.
        exclude_seen: do not recommend items of the user's history.
        skip_unknown: leave out ids that are not in the dataset and log a warning that lists them.
        titles: add the column ``title`` from the dataset's ``.item`` file.
        config_dict: settings to change, such as ``data_path`` or ``gpu_id``.
        model: the class of a custom model or ``module:Class``, see :func:`.load_run`.

    Returns:
        A table with the columns ``user_id, item_id, rank, score``; rank 1 is the best. A user has fewer than ``topk`` rows
        if fewer items can be recommended.

    Raises:
        MissingFileError: the run directory, the dataset or the ``.item`` file does not exist.
        UserError: an id is unknown, there is no user or item left, or an argument or setting cannot be used.
    """
    _check_arguments(topk, {"users": users, "history": history, "items": items})
    config, trained, dataset, *_ = load_run(run, model, config_dict)
    title_of = _read_titles(config) if titles else None
    allowed = _mark_allowed_items(dataset, items, skip_unknown)
    histories = Histories(dataset)
    batches: Iterable[HistoryBatch]
    if history is not None:
        batches, n_users = [histories.build_batch(_find_item_ids(dataset, history, skip_unknown))], 1
    else:
        selected = _select_users(histories, users, skip_unknown)
        batches = histories.iterate_batches(selected, limit_batch_size(dataset.item_num, config["eval_batch_size"]))
        n_users = len(selected)

    transform = construct_transform(config)
    tables = []
    with (
        torch.no_grad(),
        tqdm(total=n_users, unit="user", desc="recommend", disable=not config["show_progress"]) as bar,
    ):
        for batch in batches:
            window = transform(dataset, batch.window).to(config["device"])
            scores = _score_all_items(trained, dataset, window).view(len(batch.user_ids), -1)
            # A model may also score tokens of its own beyond the items.
            scores = scores[:, : dataset.item_num].float().cpu()
            check_scores(scores[:, 1:], f"{config['model']} of {run}", trained)
            scores[:, ~allowed] = -torch.inf
            if exclude_seen:
                scores[batch.seen_rows, batch.seen_items] = -torch.inf
            tables.append(_rank_items(batch.user_ids, scores, topk))
            bar.update(len(batch.user_ids))
    table = pd.concat(tables, ignore_index=True)
    if table.empty:
        raise UserError("no item is left to recommend: with exclude_seen the users have seen all allowed items")
    if n_without := n_users - table["user_id"].nunique():
        logging.getLogger().warning("%d users get no recommendations: they have seen all allowed items", n_without)
    item_ids = dataset.id2token(dataset.iid_field, table.pop("item").to_numpy())
    table.insert(1, "item_id", item_ids.astype(str))
    if title_of is not None:
        table["title"] = table["item_id"].map(title_of)
    return table


def _score_all_items(model, dataset, window) -> Tensor:
    """Return the score of every item for each history; DIN and DIEN score one item at a time, as in RecBole's evaluation."""
    try:
        return model.full_sort_predict(window)
    except NotImplementedError:
        items = dataset.get_item_feature().to(window[dataset.uid_field].device)
        scores = []
        for row in range(len(window)):
            repeated = window[row : row + 1].repeat_interleave(dataset.item_num)
            repeated.update(items)
            scores.append(model.predict(repeated))
        return torch.cat(scores)


def write_recommendations(table: pd.DataFrame, file: Path | str) -> None:
    """Write recommendations atomically, in the format that the file's ending names.

    Ids and titles are written as they are, also where a spreadsheet would take one for a formula: the file is for programs.

    Args:
        table: what :func:`recommend` returns.
        file: a path that ends in ``.csv``, ``.jsonl`` or ``.parquet``.

    Raises:
        MissingFileError: the folder does not exist.
        UserError: the ending is another one, or the path is a folder.
    """
    check_format(file)

    def write(path: str) -> None:
        match Path(file).suffix:
            case ".csv":
                table.to_csv(path, index=False)
            case ".jsonl":
                table.to_json(path, orient="records", lines=True, force_ascii=False)
            case ".parquet":
                table.to_parquet(path, index=False)

    write_atomically(file, write)


def check_format(file: Path | str) -> None:
    """Check that recommendations can be written to a file.

    Raises:
        MissingFileError: the folder does not exist.
        UserError: the file's ending is not one of :data:`FILE_FORMATS`, or the path is a folder.
    """
    if Path(file).suffix not in FILE_FORMATS:
        raise UserError(f"cannot tell the format of {file}; end its name in {', '.join(FILE_FORMATS)}")
    check_writable(file)


def read_ids(file: Path | str, option: str) -> list[str]:
    """Return the ids in a UTF-8 text file with one id per line. Empty lines are ignored.

    Args:
        file: the file.
        option: the option that names it, for messages.

    Raises:
        MissingFileError: the file does not exist.
        UserError: the file cannot be read as UTF-8 text.
    """
    text = read_text(file, f"{option} takes a UTF-8 text file with one id per line; {file}")
    return [line for line in text.split("\n") if line.strip()]


def _check_arguments(topk: int, ids: dict[str, Iterable[str] | None]) -> None:
    if topk < 1:
        raise UserError(f"topk must be at least 1, it is {topk}")
    for name, value in ids.items():
        if isinstance(value, str):
            raise UserError(f"{name} must be a list of ids, not the text {value!r}")


def _select_users(histories: Histories, users: Iterable[str] | None, skip_unknown: bool) -> np.ndarray:
    """Return the internal ids of users, without duplicates and in the order given.

    Args:
        histories: the histories of all users.
        users: user ids, or ``None`` for all users.
        skip_unknown: leave out unknown users with a warning.

    Raises:
        UserError: a user is unknown and ``skip_unknown`` is false, or there is no user.
    """
    dataset = histories.dataset
    if users is None:
        selected = histories.users
        _warn_of_left_out_users(dataset, len(selected))
    else:
        reason = f"dataset {dataset.dataset_name} has no known item of them{_explain_filters(dataset.config)}"
        selected = _find_internal_ids(histories.internal_ids, dict.fromkeys(users), skip_unknown, "users", reason)
    if not len(selected):
        raise UserError("there is no user to recommend to; name at least one user of the dataset")
    return selected


def _warn_of_left_out_users(dataset, n_served: int) -> None:
    """Log how many users of the data get no recommendations, and why."""
    reasons = []
    if isinstance(dataset, WindowedDataset):
        n_filtered, n_without_items = dataset.filtered_users, dataset.users_without_known_items
        if n_filtered:
            reasons.append(f"{n_filtered} have no interaction{_explain_filters(dataset.config)}")
        if n_without_items:
            reasons.append(f"{n_without_items} have no item that the model was trained on")
        n_left_out = n_filtered + n_without_items
    else:
        # Here RecBole builds the histories and leaves out the first interaction of each user
        n_left_out = dataset.user_num - 1 - n_served
        reasons.append("they have a single interaction")
    if n_left_out:
        n_users = n_served + n_left_out
        logging.getLogger().warning(
            "%d of %d users of dataset %s are left out: %s",
            n_left_out,
            n_users,
            dataset.dataset_name,
            "; ".join(reasons),
        )


def _explain_filters(config) -> str:
    """Name the filters in use, and the setting that lets users with few interactions in."""
    used = [f"{key}={config[key]}" for key in FILTERS if config[key] is not None]
    if not used:
        return ""
    least = str(config["user_inter_num_interval"] or "[0").strip("[( ").partition(",")[0]
    cure = "; --user_inter_num_interval='[1,inf)' lets users with fewer interactions in" if float(least) > 1 else ""
    return f" after filtering with {', '.join(used)}{cure}"


def _mark_allowed_items(dataset, items: Iterable[str] | None, skip_unknown: bool) -> Tensor:
    """Return which internal item ids may be recommended, ``[n_items]`` booleans."""
    allowed = torch.zeros(dataset.item_num, dtype=torch.bool)
    if items is None:
        # 0 is the padding item.
        allowed[1:] = True
    else:
        allowed[_find_item_ids(dataset, items, skip_unknown)] = True
    if not allowed.any():
        raise UserError("there is no item to recommend; allow at least one item of the dataset")
    return allowed


def _find_item_ids(dataset, items: Iterable[str], skip_unknown: bool) -> np.ndarray:
    reason = f"they are not in dataset {dataset.dataset_name} after its filters"
    known = dataset.field2token_id[dataset.iid_field]
    return _find_internal_ids(known, items, skip_unknown, "items", reason)


def _find_internal_ids(
    known: dict[str, int], ids: Iterable[str], skip_unknown: bool, kind: str, reason: str
) -> np.ndarray:
    """Return the internal ids of users or items, in the order given.

    Args:
        known: internal ids by the dataset's own ids.
        ids: the dataset's own ids.
        skip_unknown: leave out unknown ids with a warning.
        kind: ``users`` or ``items``, for messages.
        reason: why an id may be unknown, for messages.

    Raises:
        UserError: an id is unknown and ``skip_unknown`` is false.
    """
    found, unknown = [], []
    for own_id in map(str, ids):
        if own_id in known and own_id != PADDING_TOKEN:
            found.append(known[own_id])
        else:
            unknown.append(own_id)
    if unknown:
        listed = ", ".join(unknown[:MAX_LISTED_IDS])
        if len(unknown) > MAX_LISTED_IDS:
            listed += f" and {len(unknown) - MAX_LISTED_IDS} more"
        if not skip_unknown:
            raise UserError(f"unknown {kind} {listed}: {reason}; --skip-unknown leaves them out")
        logging.getLogger().warning("left out unknown %s %s: %s", kind, listed, reason)
    return np.array(found, dtype=np.int64)


def _rank_items(user_ids: list[str], scores: Tensor, topk: int) -> pd.DataFrame:
    """Return ``user_id, item, rank, score`` of the best items of each user, without those that score ``-inf``.

    Args:
        user_ids: the users' own ids, B of them.
        scores: ``[B, n_items]``.
        topk: items per user, if there are as many.
    """
    k = min(topk, scores.shape[1])
    best_scores, best_items = scores.topk(k)
    table = pd.DataFrame(
        {
            "user_id": np.repeat(user_ids, k),
            "item": best_items.flatten().numpy(),
            "rank": np.tile(np.arange(1, k + 1), len(user_ids)),
            "score": best_scores.flatten().numpy(),
        }
    )
    return table[np.isfinite(table["score"])]


def _read_titles(config) -> dict[str, str]:
    """Return item ids with their titles, from the first column of the ``.item`` file called a title or name.

    Raises:
        MissingFileError: there is no ``.item`` file.
        UserError: it cannot be decoded, or has no such column.
    """
    file = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not file.is_file():
        raise MissingFileError(f"there are no titles: {file} does not exist")
    header = list(read_header(file, config["field_separator"], config["encoding"]))
    try:
        lines = file.read_text(encoding=config["encoding"] or "utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} cannot be decoded ({error}); name its --encoding, or write it as utf-8") from None
    rows = [split_row(line, config["field_separator"]) for line in lines if line]
    title_column = next((i for i, name in enumerate(header) if "title" in name or "name" in name), None)
    if title_column is None or config["ITEM_ID_FIELD"] not in header:
        required = f"{config['ITEM_ID_FIELD']} and one whose name contains `title` or `name`"
        raise UserError(f"{file}, line 1: the columns are {', '.join(header)}; add {required}")
    id_column = header.index(config["ITEM_ID_FIELD"])
    n_needed = max(id_column, title_column) + 1
    return {row[id_column]: row[title_column] for row in rows[1:] if len(row) >= n_needed}
