"""What is done to a log between reading and writing, in DuckDB, out of core.

The log is one table ``events`` in a file; DuckDB's ``rowid`` is the raw order, and deleting keeps it. Everything is decided
on time, with raw order between equal times.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa

LARGEST_EXACT_FLOAT32 = 1 << 24
"""Whole numbers up to here survive RecBole's float32."""


class Events:
    """A log on disk.

    Args:
        folder: where its file and DuckDB's spill files go. memory_limit: what DuckDB may hold, such as ``2GB``.

    Attributes:
        columns: column to RecBole's type, in the order they are written.
    """

    def __init__(self, folder: Path, columns: dict[str, str], memory_limit: str):
        self.columns = dict(columns)
        self.connection = duckdb.connect(str(folder / "events.duckdb"))
        self.connection.execute("SET memory_limit = ?", [memory_limit])
        self.connection.execute("SET temp_directory = ?", [str(folder / "spill")])

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_) -> None:
        self.connection.close()

    def load(self, tables: Iterable[pa.Table]) -> int:
        """Append all tables in order; returns the number of rows. ValueError when there are none."""
        names, rows = ", ".join(self.columns), 0
        for table in tables:
            self.connection.register("batch", table)
            if not rows:
                self.connection.execute(f"CREATE OR REPLACE TABLE events AS SELECT {names} FROM batch LIMIT 0")
            self.connection.execute(f"INSERT INTO events SELECT {names} FROM batch")
            rows += len(table)
        if not rows:
            raise ValueError("the raw data hold no interactions")
        return rows

    def deduplicate(self, how: str) -> None:
        """Leave one row per user and item: ``keep-first``, ``keep-last``, or ``count``, the first with the number there were."""
        if how == "count":
            self.connection.execute("ALTER TABLE events ADD COLUMN interactions BIGINT")
            self.connection.execute(
                "UPDATE events SET interactions = repeats FROM (SELECT rowid AS row, "
                "count(*) OVER (PARTITION BY user_id, item_id) AS repeats FROM events) WHERE events.rowid = row"
            )
            self.columns["interactions"] = "float"
        self._leave("user_id, item_id", "DESC" if how == "keep-last" else "ASC", 1)

    def last(self, n: int) -> None:
        """Leave each user's last ``n`` events."""
        self._leave("user_id", "DESC", n)

    def _leave(self, group: str, direction: str, n: int) -> None:
        self.connection.execute(
            f"DELETE FROM events WHERE rowid IN (SELECT rowid FROM events QUALIFY row_number() OVER "
            f"(PARTITION BY {group} ORDER BY timestamp {direction}, rowid {direction}) > {n:d})"
        )

    def sample_users(self, n: int, seed: int) -> None:
        """Leave ``n`` users: those whose MD5 with the seed is lowest, the same ones everywhere."""
        self.connection.execute(
            "DELETE FROM events WHERE user_id NOT IN (SELECT user_id FROM (SELECT DISTINCT user_id FROM events) "
            "ORDER BY md5(concat(?::VARCHAR, ':', user_id)) LIMIT ?)",
            [seed, n],
        )

    def core(self, min_user: int, min_item: int) -> None:
        """Delete users with fewer than ``min_user`` events and items with fewer than ``min_item`` until none are left."""
        deleted = True
        while deleted:
            deleted = False
            for column, least in (("item_id", min_item), ("user_id", min_user)):
                (count,) = self.connection.execute(
                    f"DELETE FROM events WHERE {column} IN "
                    f"(SELECT {column} FROM events GROUP BY {column} HAVING count(*) < {least:d})"
                ).fetchone()
                deleted = deleted or count > 0

    def counts(self) -> dict[str, int]:
        """``users, items, interactions``."""
        row = self.connection.execute(
            "SELECT (SELECT count(*) FROM (SELECT DISTINCT user_id FROM events)), "
            "(SELECT count(*) FROM (SELECT DISTINCT item_id FROM events)), (SELECT count(*) FROM events)"
        ).fetchone()
        return dict(zip(("users", "items", "interactions"), row, strict=True))

    def write(self, file: Path, order: str) -> None:
        """Write the ``.inter`` file in ``raw`` or ``time`` order.

        RecBole sorts by time in float32, which makes equal what lies within a minute or two. In ``time`` order the
        timestamp is therefore an event's place in its user's history, 1, 2, ..., and ``raw_timestamp`` keeps the time.

        Raises ValueError when a history is too long for such places to be exact.
        """
        columns, kinds, tail = self._as_written(), dict(self.columns), ""
        if order == "time":
            self._refuse_endless_histories()
            columns["raw_timestamp"], kinds["raw_timestamp"] = columns["timestamp"], "float"
            columns["timestamp"] = "row_number() OVER (PARTITION BY user_id ORDER BY timestamp, rowid)"
            tail = "ORDER BY timestamp, rowid"
        selected = ", ".join(f'{value} AS "{name}:{kinds[name]}"' for name, value in columns.items())
        target = str(file).replace("'", "''")
        self.connection.execute(
            f"COPY (SELECT {selected} FROM events {tail}) TO '{target}' (FORMAT csv, DELIMITER '\t', HEADER)"
        )

    def _as_written(self) -> dict[str, str]:
        """Column to what is written of it: decimals go without the zeros they are stored with."""
        types = {name: kind for name, kind, *_ in self.connection.execute("DESCRIBE events").fetchall()}
        trimmed = r"regexp_replace({}::VARCHAR, '\.?0+$', '')"
        return {name: trimmed.format(name) if types[name].startswith("DECIMAL") else name for name in self.columns}

    def _refuse_endless_histories(self) -> None:
        longest = self.connection.execute("SELECT max(n) FROM (SELECT count(*) AS n FROM events GROUP BY user_id)")
        if longest.fetchone()[0] >= LARGEST_EXACT_FLOAT32:
            raise ValueError(f"a user has more than {LARGEST_EXACT_FLOAT32:,} events: use --last, or --order raw")
