"""Keep the rows of a log for which an expression of DuckDB is true."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import duckdb
import pyarrow as pa

from dataset_prep.errors import PreparationError
from dataset_prep.malformed import MalformedRows
from dataset_prep.raw_files import RawFile
from dataset_prep.rows import ROWS_PER_TABLE


class RowFilter:
    """An expression over the columns of a log, whose values are text.

    Args:
        expression: such as ``event = 'purchase' AND price::double > 5``.

    Attributes:
        columns: the columns that it reads.

    Raises:
        PreparationError: it cannot be parsed, or names no column.
    """

    def __init__(self, expression: str):
        self._expression = expression
        self._connection = duckdb.connect()
        query = f"SELECT 1 FROM rows WHERE ({expression}\n)"
        ((parsed,),) = self._connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        tree = json.loads(parsed)
        if tree["error"] or len(tree["statements"]) != 1:
            reason = tree.get("error_message", "it is more than an expression")
            raise PreparationError(f"--where={expression!r} cannot be read: {reason}")
        beyond = {node["class"] for node in _find_nodes(tree) if node.get("class") in ("WINDOW", "SUBQUERY")}
        if beyond:
            raise PreparationError(
                f"--where={expression!r} looks at other rows ({', '.join(sorted(beyond)).lower()}); write a condition on one row"
            )
        self.columns = list(dict.fromkeys(_find_columns(tree)))
        if not self.columns:
            raise PreparationError(
                f"--where={expression!r} names no column; write a condition such as \"event = 'purchase'\""
            )

    def keep(
        self, file: RawFile, rows: Iterable[tuple[int, Sequence]], malformed: MalformedRows
    ) -> Iterator[tuple[int, Sequence]]:
        """Yield the numbered rows for which the expression is true, without the values that it reads.

        Args:
            file: the file of the rows, for messages.
            rows: the number and the values of each row, the last of them those of :attr:`columns`.
            malformed: counts the rows that are left out.

        Raises:
            PreparationError: the expression cannot be evaluated.
        """
        remaining = iter(rows)
        while chunk := list(islice(remaining, ROWS_PER_TABLE)):
            n_own = len(chunk[0][1]) - len(self.columns)
            columns = zip(*(values[n_own:] for _, values in chunk), strict=True)
            texts = [[None if value is None else str(value) for value in column] for column in columns]
            for (line, values), kept in zip(chunk, self._evaluate(file, texts), strict=True):
                if kept:
                    yield line, values[:n_own]
                else:
                    malformed.filtered += 1

    def _evaluate(self, file: RawFile, texts: list[list[str | None]]) -> list[bool]:
        table = pa.table([pa.array(column, pa.string()) for column in texts], names=self.columns)
        self._connection.register("rows", table)
        query = f"SELECT coalesce(CAST(({self._expression}\n) AS BOOLEAN), false) FROM rows"
        try:
            kept_rows = [kept for (kept,) in self._connection.execute(query).fetchall()]
        except duckdb.Error as error:
            reason, _, _ = str(error).partition("\n")
            raise PreparationError(
                f"{file.label}: --where={self._expression!r} cannot be evaluated: {reason}; values are text, "
                "cast numbers with try_cast(COLUMN AS double)"
            ) from None
        if len(kept_rows) != len(table):
            raise PreparationError(f"--where={self._expression!r} sums over rows; write a condition on one row")
        return kept_rows


def _find_nodes(tree: object) -> Iterator[dict]:
    """Yield the nodes of a parsed query."""
    if isinstance(tree, dict):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _find_nodes(value)


def _find_columns(tree: object) -> Iterator[str]:
    """Yield the names of the columns in a parsed query."""
    for node in _find_nodes(tree):
        if node.get("class") == "COLUMN_REF":
            yield node["column_names"][-1]
