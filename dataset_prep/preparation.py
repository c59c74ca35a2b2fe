"""One preparation from raw files to atomic files: read, filter, check against the published totals, write, put in place."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from dataset_prep import record
from dataset_prep.atomic import publish, workshop, write_rows
from dataset_prep.pipeline import Events
from dataset_prep.rows import BadRows
from dataset_prep.source import Source

WITHOUT_EFFECT = {"raw", "out", "memory_limit", "force", "download", "name"}
"""Options that do not change what is written."""


def prepare(source: Source, options: Namespace, bad: BadRows) -> str:
    """Write ``<out>/<name>/<name>.{inter,item,user,prep.json}``, all or none, and return the line of totals.

    Raises ValueError for malformed rows, and for totals other than the published ones under ``--strict``.
    """
    name, folder = options.name, options.out / options.name
    inputs = record.describe_inputs(member.file for member in source.members)
    settings = {k: v for k, v in vars(options).items() if k not in WITHOUT_EFFECT}
    known = record.up_to_date(folder, name, inputs, settings)
    if known and not options.force:
        return f"{_summary(name, known['counts'])}\nnothing to do: made from the same files and options (--force redoes it)"
    with workshop(folder) as work:
        counts = _write(source, options, work)
        if bad.count:
            counts["skipped"] = bad.count
            print(f"skipped {bad.count} malformed rows, the first: {bad.first}", file=sys.stderr)
        files = [work / f"{name}.{part}" for part in ("inter", *source.features)]
        record.write_record(work / f"{name}.prep.json", inputs, settings, counts, files)
        earlier = record.files(folder, name)
        publish(work, folder, [file.name for file in files], last=f"{name}.prep.json")
        for part in ("item", "user"):
            if part not in source.features and f"{name}.{part}" in earlier:
                (folder / f"{name}.{part}").unlink(missing_ok=True)
    return _summary(name, counts)


def _write(source: Source, options: Namespace, work: Path) -> dict[str, int]:
    with Events(work, source.columns, options.memory_limit) as events:
        events.load(source.events)
        read = events.counts()
        listed = {
            f"{part}s listed": write_rows(work / f"{options.name}.{part}", feature.header, feature.rows)
            for part, feature in source.features.items()
        }
        _check_totals({**read, **listed}, source.totals, options.name, options.strict)
        counts = events.counts() if _filter(events, options) else read
        if not counts["interactions"]:
            raise ValueError("the filters leave no interactions")
        events.write(work / f"{options.name}.inter", options.order)
    return {**counts, "interactions read": read["interactions"], **listed}


def _filter(events: Events, options: Namespace) -> bool:
    """Repeats go first, then users are drawn, then the core is taken of what is left, then histories are cut."""
    core = options.min_user > 1 or options.min_item > 1
    if options.dedup:
        events.deduplicate(options.dedup)
    if options.users:
        events.sample_users(options.users, options.seed)
    if core:
        events.core(options.min_user, options.min_item)
    if options.last:
        events.last(options.last)
    return bool(options.dedup or options.users or core or options.last)


def _check_totals(counts: dict[str, int], totals: dict[str, int], name: str, strict: bool) -> None:
    wrong = [f"{counts[k]:,} {k}, published {n:,}" for k, n in totals.items() if k in counts and counts[k] != n]
    if not wrong:
        return
    message = f"{name} has other totals than its whole distribution: {'; '.join(wrong)}"
    if strict:
        raise ValueError(message)
    print(f"WARNING: {message}", file=sys.stderr)


def _summary(name: str, counts: dict[str, int]) -> str:
    return f"{name}: {counts['users']} users, {counts['items']} items, {counts['interactions']} interactions"
