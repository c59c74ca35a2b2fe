"""Filter, deduplicate and order interactions in DuckDB, on disk where memory does not suffice.

The interactions are one table ``events`` in a file. DuckDB's ``rowid`` is the raw order, and deleting rows keeps it. Every
choice between rows goes by time, then by raw order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from dataset_prep.errors import PreparationError, one_line

LARGEST_EXACT_FLOAT32 = 1 << 24
"""Largest whole number up to which RecBole's float32 represents all of them."""

ROWS_AT_ONCE = 10_000_000
"""Rows of which some are chosen or changed in one statement, for which the default memory limit suffices."""


@contextmanager
def open_event_log(folder: Path, columns: dict[str, str], memory_limit: str) -> Iterator[EventLog]:
    """Open an empty log and close it at the end.

    Args:
        folder: folder for the file of the log and for what DuckDB moves out of memory.
        columns: RecBole's type of each column.
        memory_limit: how much memory DuckDB may use, such as ``2GB``.

    Raises:
        PreparationError: the memory limit is unusable or too small, or the disk is full.
    """
    try:
        with duckdb.connect(str(folder / "events.duckdb")) as connection:
            _set_memory_limit(connection, memory_limit)
            connection.execute("SET temp_directory = ?", [str(folder / "spill")])
            yield EventLog(connection, columns)
    except duckdb.OutOfMemoryException as error:
        raise PreparationError(f"--memory-limit {memory_limit} is too small: {one_line(error)}") from error
    except (duckdb.OperationalError, duckdb.FatalException) as error:
        # With one connection, a transaction fails only when its file cannot be written.
        raise PreparationError(f"cannot write into {folder}: {one_line(error)}") from error


def _set_memory_limit(connection: duckdb.DuckDBPyConnection, memory_limit: str) -> None:
    try:
        connection.execute("SET memory_limit = ?", [memory_limit])
    except (duckdb.ParserException, duckdb.InvalidInputException) as error:
        raise PreparationError(f"--memory-limit {memory_limit!r} is not a size: {one_line(error)}") from error


class EventLog:
    """Interactions in a DuckDB table; made by :func:`open_event_log`.

    Attributes:
        columns: RecBole's type of each column, in the order in which they are written.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: dict[str, str]):
        self.connection = connection
        self.columns = dict(columns)

    def load(self, tables: Iterable[pa.Table]) -> int:
        """Append all tables in order and return the number of rows.

        Raises:
            PreparationError: there are no rows.
        """
        names = ", ".join(self.columns)
        rows = 0
        for table in tables:
            self.connection.register("batch", table)
            if not rows:
                self.connection.execute(f"CREATE OR REPLACE TABLE events AS SELECT {names} FROM batch LIMIT 0")
            self.connection.execute(f"INSERT INTO events SELECT {names} FROM batch")
            rows += len(table)
        if not rows:
            raise PreparationError("the raw data hold no interactions, or --where and --skip-bad leave none")
        return rows

    def deduplicate(self, how: str) -> None:
        """Keep one row for each pair of user and item.

        Args:
            how: ``keep-first``, ``keep-last``, or ``count``, which keeps the first and adds a column with their number.
        """
        if how == "count":
            self.connection.execute("ALTER TABLE events ADD COLUMN interactions BIGINT")
            for part in self._parts_of_users():
                self.connection.execute(
                    "UPDATE events SET interactions = repeats FROM (SELECT rowid AS row, count(*) OVER "
                    f"(PARTITION BY user_id, item_id) AS repeats FROM events WHERE {part}) WHERE events.rowid = row"
                )
            self.columns["interactions"] = "float"
        self._keep_first_rows("user_id, item_id", "DESC" if how == "keep-last" else "ASC", 1)

    def keep_last(self, n: int) -> None:
        """Keep each user's last ``n`` events."""
        self._keep_first_rows("user_id", "DESC", n)

    def _keep_first_rows(self, group: str, direction: str, n: int) -> None:
        """Keep the first ``n`` rows of each group; ``group`` names columns, the user among them."""
        for part in self._parts_of_users():
            self.connection.execute(
                f"DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE {part} QUALIFY row_number() OVER "
                f"(PARTITION BY {group} ORDER BY timestamp {direction}, rowid {direction}) > {n:d})"
            )

    def _parts_of_users(self) -> list[str]:
        """Return SQL conditions that split the users, so that each selects about :data:`ROWS_AT_ONCE` rows at most.

        DuckDB moves sorted rows out of memory, but not the set of rows that a statement changes.
        """
        (rows,) = self.connection.execute("SELECT count(*) FROM events").fetchone()
        parts = -(-rows // ROWS_AT_ONCE)
        return [f"hash(user_id) % {parts} = {part}" for part in range(parts)] if parts > 1 else ["true"]

    def sample_users(self, n: int, seed: int) -> None:
        """Keep the ``n`` users whose MD5 with the seed is lowest, which are the same ones on every machine."""
        self.connection.execute(
            "DELETE FROM events WHERE user_id NOT IN (SELECT user_id FROM (SELECT DISTINCT user_id FROM events) "
            "ORDER BY md5(concat(?::VARCHAR, ':', user_id)) LIMIT ?)",
            [seed, n],
        )

    def keep_core(self, min_user: int, min_item: int) -> None:
        """Delete users with fewer than ``min_user`` and items with fewer than ``min_item`` events until none is left."""
        deleted = True
        while deleted:
            items_deleted = self._delete_rare("item_id", min_item)
            users_deleted = self._delete_rare("user_id", min_user)
            deleted = items_deleted or users_deleted

    def _delete_rare(self, column: str, least: int) -> bool:
        (count,) = self.connection.execute(
            f"DELETE FROM events WHERE {column} IN "
            f"(SELECT {column} FROM events GROUP BY {column} HAVING count(*) < {least:d})"
        ).fetchone()
        return count > 0

    def counts(self) -> dict[str, int]:
        """Return the numbers of ``users``, ``items`` and ``interactions``."""
        row = self.connection.execute(
            "SELECT (SELECT count(*) FROM (SELECT DISTINCT user_id FROM events)), "
            "(SELECT count(*) FROM (SELECT DISTINCT item_id FROM events)), (SELECT count(*) FROM events)"
        ).fetchone()
        return dict(zip(("users", "items", "interactions"), row, strict=True))

    def write(self, path: Path, order: str) -> None:
        """Write the ``.inter`` file.

        RecBole sorts by time in float32, which makes times within a minute or two equal. In ``time`` order the timestamp is
        therefore the position of an event in its user's history, 1, 2, ..., and ``raw_timestamp`` keeps the time.

        Args:
            path: file to write.
            order: ``raw`` or ``time``.

        Raises:
            PreparationError: a history is too long for float32 to represent its positions.
        """
        values = self._values_to_write()
        types = dict(self.columns)
        order_by = ""
        if order == "time":
            self._check_history_lengths()
            values["raw_timestamp"], types["raw_timestamp"] = values["timestamp"], "float"
            values["timestamp"] = "row_number() OVER (PARTITION BY user_id ORDER BY timestamp, rowid)"
            order_by = "ORDER BY timestamp, rowid"
        selected = ", ".join(f'{value} AS "{name}:{types[name]}"' for name, value in values.items())
        target = str(path).replace("'", "''")
        self.connection.execute(
            f"COPY (SELECT {selected} FROM events {order_by}) TO '{target}' (FORMAT csv, DELIMITER '\t', HEADER)"
        )

    def _values_to_write(self) -> dict[str, str]:
        """Return the SQL of each column; decimals are written without the trailing zeros they are stored with."""
        sql_types = {name: sql_type for name, sql_type, *_ in self.connection.execute("DESCRIBE events").fetchall()}
        values = {}
        for name in self.columns:
            is_decimal = sql_types[name].startswith("DECIMAL")
            values[name] = rf"regexp_replace({name}::VARCHAR, '\.?0+$', '')" if is_decimal else name
        return values

    def _check_history_lengths(self) -> None:
        (longest,) = self.connection.execute(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM events GROUP BY user_id)"
        ).fetchone()
        if longest >= LARGEST_EXACT_FLOAT32:
            raise PreparationError(f"a user has more than {LARGEST_EXACT_FLOAT32:,} events: use --last, or --order raw")
