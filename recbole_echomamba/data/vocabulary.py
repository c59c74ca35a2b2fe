"""What each id stood for when a model was trained, kept with its run: data that have changed since are numbered by it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from recbole_echomamba.data.windowed_dataset import WindowedDataset
from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.files import write_atomically

FILE = "vocabulary.parquet"


def write_vocabulary(directory: Path, dataset, data_hash: str) -> None:
    """Write the texts of every token field in the order of their ids, and the hash of the data they come from."""
    texts = {field: np.asarray(own, dtype=str) for field, own in dataset.field2id_token.items()}
    columns = {
        "field": np.repeat(list(texts), [len(own) for own in texts.values()]),
        "text": np.concatenate(list(texts.values())),
    }
    table = pyarrow.table(columns).replace_schema_metadata({"data_hash": data_hash})
    write_atomically(Path(directory) / FILE, lambda temporary: pyarrow.parquet.write_table(table, temporary))


def renumber_like_run(dataset, directory: Path | str, data_hash: str) -> None:
    """Give the users and items of a data set, not yet built, the ids they had when the run in ``directory`` was trained.

    Items the run has not seen are left out with their interactions; users it has not seen are numbered after the others. When the
    data have changed, a warning says so.

    Args:
        data_hash: of the files the data set was read from.

    Raises:
        FileNotFoundError: the run has no vocabulary.
        ValueError: it is damaged, or more has changed than users and items.
    """
    texts, trained_on = _read(Path(directory) / FILE)
    if trained_on != data_hash:
        logging.getLogger().warning(
            "the data have changed since %s was trained: numbers are on the data of now", directory
        )
    changed = {
        field
        for field, own in dataset.field2id_token.items()
        if not np.array_equal(own, texts.get(field, np.array([])))
    }
    if not changed:
        return
    features = dataset.user_feat is not None or dataset.item_feat is not None
    if not isinstance(dataset, WindowedDataset) or features or changed - {dataset.uid_field, dataset.iid_field}:
        raise UserError(
            f"{', '.join(sorted(changed))} of data set {dataset.dataset_name} have other values than when {directory} was "
            "trained, which only plain interactions allow; train a new run on these data"
        )
    unknown = dataset.renumber(texts)
    if unknown:
        logging.getLogger().warning(
            "%d interactions with items that %s was not trained on are left out", unknown, directory
        )


def _read(file: Path) -> tuple[dict[str, np.ndarray], str]:
    try:
        table = pyarrow.parquet.read_table(file)
        fields, texts = (table.column(name).to_numpy() for name in ("field", "text"))
        data_hash = table.schema.metadata[b"data_hash"].decode()
    except FileNotFoundError:
        raise MissingFileError(f"{file} does not exist: it says which id is which item; train again") from None
    except (pyarrow.ArrowException, OSError, KeyError, TypeError) as error:
        raise UserError(f"{file} is truncated or damaged ({type(error).__name__}); train again or restore it") from None
    return {field: texts[fields == field] for field in np.unique(fields.astype(str))}, data_hash
