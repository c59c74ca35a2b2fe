"""Read ids, histories and titles, and write recommendations."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd

from dataset_prep.atomic_file import split_row
from dataset_prep.errors import one_line
from recbole_echomamba.data.atomic_file import read_header
from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.files import check_writable, read_text, write_atomically

FILE_FORMATS = (".csv", ".jsonl", ".parquet")


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


def read_histories(file: Path | str) -> dict[str, list[str]]:
    """Read the histories of users who need not be in the dataset.

    Args:
        file: JSON lines ``{"user_id": ..., "items": [...]}``, of which ``user_id`` may be left out; or a ``.csv`` or
            ``.parquet`` file with the columns ``user_id`` and ``item_id`` and one row for each interaction. Items are in
            order, oldest first.

    Returns:
        The item ids of each user; a user without an id is named after the line, from 1.

    Raises:
        MissingFileError: the file does not exist.
        UserError: the file cannot be read, with the line.
    """
    path = Path(file)
    if not path.is_file():
        raise MissingFileError(f"there is no file {file}; --histories takes a .jsonl, .csv or .parquet file")
    match path.suffix:
        case ".jsonl":
            return _read_json_lines(path)
        case ".csv" | ".parquet":
            return _read_interactions(path)
    raise UserError(f"cannot tell the format of {file}; end its name in {', '.join(FILE_FORMATS)}")


def _read_json_lines(file: Path) -> dict[str, list[str]]:
    histories: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(file, str(file)).split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            user, items = entry.get("user_id"), entry["items"]
            user = str(number if user is None else user)
            if not isinstance(items, list) or not all(isinstance(item, str | int) for item in items):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(f'{file}, line {number}: write {{"user_id": "u1", "items": ["i1", "i2"]}}') from None
        if user in histories:
            raise UserError(f"{file}, line {number}: user {user!r} has a line already; write each user once")
        histories[user] = [str(item) for item in items]
    return histories


def _read_interactions(file: Path) -> dict[str, list[str]]:
    try:
        if file.suffix == ".csv":
            table = pd.read_csv(file, dtype=str, keep_default_na=False, quoting=csv.QUOTE_MINIMAL)
        else:
            # whole numbers with a missing value among them would become floats
            table = pd.read_parquet(file, dtype_backend="pyarrow")
    except Exception as error:
        # pandas and pyarrow raise many kinds of errors for a file that is not what its name says
        raise UserError(f"{file} cannot be read as {file.suffix[1:]}: {one_line(error)}") from None
    missing = [name for name in ("user_id", "item_id") if name not in table]
    if missing:
        raise UserError(f"{file} has no column {missing[0]} (it has {', '.join(map(str, table))}); rename or add it")
    damaged = table[["user_id", "item_id"]].isna().any(axis=1) | (table[["user_id", "item_id"]].astype(str) == "").any(
        axis=1
    )
    if damaged.any():
        raise UserError(
            f"{file}, row {int(damaged.argmax()) + 1}: user_id or item_id is empty; fill it or remove the row"
        )
    by_user = table["item_id"].astype(str).groupby(table["user_id"].astype(str), sort=False)
    return {str(user): items.tolist() for user, items in by_user}


def read_titles(config) -> dict[str, str]:
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
