"""Prepare one dataset: read the raw files, filter, compare with the published totals, write the atomic files."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from dataset_prep import record
from dataset_prep.atomic_file import write_rows
from dataset_prep.errors import PreparationError, explain_system_errors
from dataset_prep.event_log import EventLog, open_event_log
from dataset_prep.malformed import MalformedRows
from dataset_prep.source import Source
from dataset_prep.staging import lock_and_stage, publish, remove_leftovers
from dataset_prep.words import count

WITHOUT_EFFECT = {"raw", "out", "memory_limit", "max_ratio", "force", "download", "name", "debug"}
"""Options that do not change what is written."""

MOST_LISTED_FILES = 50
"""Up to how many files the number of rows of each is printed."""


def prepare(source: Source, options: Namespace, malformed: MalformedRows) -> str:
    """Write ``<out>/<name>/<name>.{inter,item,user,prep.json}``, all of them or none.

    Args:
        source: the opened dataset.
        options: options of the command line.
        malformed: what happens to malformed rows; the one that ``source`` reports to.

    Returns:
        The number of rows of each file, if there are several, and a line with the numbers of users, items and interactions.

    Raises:
        PreparationError: a row is malformed, too many rows are skipped, the filters leave nothing, the totals differ from the
            published ones under ``--strict``, another preparation is running, or the disk is full.
    """
    name = options.name
    folder = options.out / name
    with explain_system_errors(f"cannot prepare {name} in {folder}"):
        inputs = record.describe_inputs(file.path for file in source.files)
        settings = {key: value for key, value in vars(options).items() if key not in WITHOUT_EFFECT}
        current = record.find_current(folder, name, inputs, settings)
        if current and not options.force:
            remove_leftovers(folder)
            unchanged = "nothing to do: made from the same files and options (--force prepares it again)"
            return f"{_summary(name, folder, current['counts'])}\n{unchanged}"
        rows_of_files: dict[str, int] = {}
        with lock_and_stage(folder) as staging:
            print(*source.notes, sep="\n", end="\n" if source.notes else "", file=sys.stderr)
            try:
                counts = _write_files(source, options, staging, rows_of_files, malformed)
            finally:
                for line in malformed.describe():
                    print(line, file=sys.stderr)
            if malformed.count:
                counts["skipped"] = malformed.count
            files = [staging / f"{name}.{part}" for part in ("inter", *source.features)]
            record.write_record(staging / f"{name}.prep.json", inputs, settings, counts, files)
            earlier_files = record.list_files(folder, name)
            publish(staging, folder, [file.name for file in files], record=f"{name}.prep.json")
            _delete_outdated_features(source, folder, name, earlier_files)
    return "\n".join([*_describe_files(rows_of_files), _summary(name, folder, counts)])


def _write_files(
    source: Source, options: Namespace, staging: Path, rows_of_files: dict[str, int], malformed: MalformedRows
) -> dict[str, int]:
    """Write the data files into ``staging``, fill ``rows_of_files`` and return the counts for the record."""
    with open_event_log(staging, source.columns, options.memory_limit) as log:
        log.load(_count_rows(source, rows_of_files, malformed))
        counts_read = log.counts()
        counts_listed = {}
        for part, feature in source.features.items():
            path = staging / f"{options.name}.{part}"
            counts_listed[f"{part}s listed"] = write_rows(path, feature.header, feature.rows)
        _check_totals({**counts_read, **counts_listed}, source.totals, options.name, options.strict)
        counts = log.counts() if _filter(log, options) else counts_read
        if not counts["interactions"]:
            raise PreparationError("the filters leave no interactions")
        log.write(staging / f"{options.name}.inter", options.order)
    return {**counts, "interactions read": counts_read["interactions"], **counts_listed}


def _count_rows(source: Source, rows_of_files: dict[str, int], malformed: MalformedRows) -> Iterator[pa.Table]:
    """Yield the tables of all files; add to ``rows_of_files`` how many rows each file gave, and check how many were malformed."""
    for file, tables in source.events:
        rows_of_files[file.label] = 0
        for table in tables:
            rows_of_files[file.label] += len(table)
            yield table
    malformed.check_share(sum(rows_of_files.values()))


def _describe_files(rows_of_files: dict[str, int]) -> list[str]:
    if len(rows_of_files) < 2:
        return []
    by_size = sorted(rows_of_files, key=rows_of_files.__getitem__)
    if len(by_size) > MOST_LISTED_FILES:
        smallest, largest = (f"{count(rows_of_files[file], 'row')} from {file}" for file in (by_size[0], by_size[-1]))
        total = sum(rows_of_files.values())
        return [f"{total:,} rows from {len(by_size):,} files: between {smallest} and {largest}"]
    return [f"{count(rows, 'row')} from {file}" for file, rows in rows_of_files.items()]


def _filter(log: EventLog, options: Namespace) -> bool:
    """Apply the filters in the documented order; return whether there was one."""
    filtered = False
    if options.dedup:
        log.deduplicate(options.dedup)
        filtered = True
    if options.users:
        log.sample_users(options.users, options.seed)
        filtered = True
    if options.min_user > 1 or options.min_item > 1:
        log.keep_core(options.min_user, options.min_item)
        filtered = True
    if options.last:
        log.keep_last(options.last)
        filtered = True
    return filtered


def _check_totals(counts: dict[str, int], totals: dict[str, int], name: str, strict: bool) -> None:
    differences = []
    for key, published in totals.items():
        if key in counts and counts[key] != published:
            differences.append(f"{counts[key]:,} {key}, published {published:,}")
    if not differences:
        return
    message = f"{name} has other totals than the complete dataset: {'; '.join(differences)}"
    if strict:
        raise PreparationError(message)
    print(f"WARNING: {message}", file=sys.stderr)


def _delete_outdated_features(source: Source, folder: Path, name: str, earlier_files: set[str]) -> None:
    """Delete an ``.item`` or ``.user`` file that an earlier preparation wrote and this one did not."""
    for part in ("item", "user"):
        if part not in source.features and f"{name}.{part}" in earlier_files:
            (folder / f"{name}.{part}").unlink(missing_ok=True)


def _summary(name: str, folder: Path, counts: dict[str, int]) -> str:
    sizes = [count(counts[f"{word}s"], word) for word in ("user", "item", "interaction")]
    return f"{name}: {', '.join(sizes)}, in {folder / name}.inter"
