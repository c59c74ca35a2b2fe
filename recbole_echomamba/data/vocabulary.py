"""Save the ids used in training with the run, and renumber a changed dataset by them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from dataset_prep.words import count
from recbole_echomamba.data.recorded_table import read_recorded_table
from recbole_echomamba.data.windowed_dataset import WindowedDataset
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.manifest import write_recorded

FILE = "vocabulary.parquet"


def write_vocabulary(directory: Path, dataset, data_hash: str) -> None:
    """Write the texts of every token field in the order of their ids.

    Args:
        directory: the run directory.
        dataset: the dataset that the run trains on.
        data_hash: SHA-256 of its atomic files, written beside the texts.
    """
    texts = {field: np.asarray(own, dtype=str) for field, own in dataset.field2id_token.items()}
    columns = {
        "field": np.repeat(list(texts), [len(own) for own in texts.values()]),
        "text": np.concatenate(list(texts.values())),
    }
    table = pyarrow.table(columns).replace_schema_metadata({"data_hash": data_hash})
    write_recorded(Path(directory) / FILE, lambda temporary: pyarrow.parquet.write_table(table, temporary))


def renumber_like_run(
    dataset, directory: Path | str, data_hash: str, keep_new_items: bool = False, keep_new_users: bool = True
) -> None:
    """Give the users and items of a dataset the ids they had when a run was trained.

    Users that the run was not trained on are numbered after the others, or removed. Interactions with items it was not trained on
    are removed, and a warning is logged if the data have changed; or new items are numbered after the others, too.

    Args:
        dataset: what :func:`.create_dataset` returned, not yet split; it is changed in place.
        directory: the run directory.
        data_hash: SHA-256 of the atomic files that the dataset was read from.
        keep_new_items: whether to keep items that the run was not trained on, for a model that is trained on.
        keep_new_users: whether to keep users that the run was not trained on; a model with an embedding per user cannot.

    Raises:
        MissingFileError: the run has no vocabulary.
        UserError: the vocabulary is damaged, or more than users and items has changed.
    """
    texts, trained_on = read_vocabulary(directory)
    if trained_on != data_hash and not keep_new_items:
        logging.getLogger().warning(
            "the data have changed since %s was trained: results are on the present data", directory
        )
    changed = {
        field
        for field, own in dataset.field2id_token.items()
        if field not in texts or not np.array_equal(own, texts[field])
    }
    if not changed:
        return
    has_features = dataset.user_feat is not None or dataset.item_feat is not None
    if not isinstance(dataset, WindowedDataset) or has_features or changed - {dataset.uid_field, dataset.iid_field}:
        raise UserError(
            f"{', '.join(sorted(changed))} of dataset {dataset.dataset_name} have other values than when {directory} was "
            "trained, which is possible for users and items without features only; train a new run on these data"
        )
    removed = dataset.renumber(texts, keep_new_items, keep_new_users)
    if removed:
        logging.getLogger().warning(
            "%s with items that %s was not trained on left out", count(removed, "interaction"), directory
        )


def read_vocabulary(directory: Path | str) -> tuple[dict[str, np.ndarray], str]:
    """Return the texts of each field by id, and the hash of the data they come from.

    Raises:
        MissingFileError: the run has no vocabulary.
        UserError: the vocabulary is damaged.
    """
    file = Path(directory) / FILE
    table = read_recorded_table(file, ["field", "text"], "restore it, or train again")
    fields, texts = (table.column(name).to_numpy() for name in ("field", "text"))
    data_hash = (table.schema.metadata or {}).get(b"data_hash")
    if data_hash is None:
        raise UserError(f"{file} is damaged: it does not name its data; train again or restore it")
    by_field = {field: texts[fields == field] for field in np.unique(fields.astype(str))}
    return by_field, data_hash.decode("utf-8", "replace")
