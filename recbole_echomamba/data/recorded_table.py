"""Read a Parquet file of a run directory, whatever has become of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow
import pyarrow.parquet

from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.manifest import check_recorded


def read_recorded_table(path: Path | str, columns: Iterable[str], hint: str) -> pyarrow.Table:
    """Check a Parquet file with :func:`check_recorded`, and read it.

    Args:
        path: the file.
        columns: the columns that it must have, without missing values.
        hint: what to do about a damaged file.

    Raises:
        MissingFileError: it does not exist.
        UserError: it is damaged.
    """
    check_recorded(path)
    if not Path(path).is_file():
        raise MissingFileError(f"{path} does not exist; {hint}")
    try:
        table = pyarrow.parquet.read_table(path)
        table.validate(full=True)
        damage = next((f"no column {name}" for name in columns if name not in table.column_names), None)
        damage = damage or next((f"missing values in {name}" for name in columns if table[name].null_count), None)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        damage = type(error).__name__
    if damage:
        raise UserError(f"{path} is truncated or damaged ({damage}); {hint}")
    return table
