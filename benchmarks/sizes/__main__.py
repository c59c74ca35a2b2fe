"""Run the five benchmarks at their true size, from raw files to metrics: ``python -m benchmarks.sizes --folder SCRATCH``.

The raw files are generated, see :mod:`.raw_logs`; ``--ml-1m`` names the real ones of ML-1M. Every stage runs in a process of its
own, so that its peak memory is its own, and its figures are written to ``--json`` at once: the same command goes on where it
stopped. Files of a dataset are deleted after its last stage unless ``--keep`` is given. Memory counts the pages of mapped files.
"""

from __future__ import annotations

import argparse
import json
import shutil
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from benchmarks.sizes.raw_logs import SIZES, WRITERS, Size
from benchmarks.sizes.stages import ROWS, STAGES, Job, measure

RAW_BYTES = {"ml-1m": 27, "ml-32m": 28, "netflix": 21, "tmall": 34, "lfm-1b": 42}
"""Bytes of an event in the raw files; preparing takes about twice as many again."""

MUST_MATCH = ("scale", "all_items", "lfm_events", "model", "threads")
"""Flags that the figures in a file depend on."""

COLUMNS = [
    "prepare",
    "first start",
    "second start",
    "step",
    "hours an epoch",
    "validation",
    "recommendation",
    "RecBole's start",
]


def main() -> None:
    options = parse_arguments()
    figures = read_figures(options)
    for name in options.rows:
        run_row(name, options, figures)
    print_table(figures)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS, help="datasets (default: all)")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES, help="stages (default: all)")
    parser.add_argument("--folder", type=Path, required=True, help="scratch folder for raw and prepared files")
    parser.add_argument("--json", default="sizes.json", metavar="FILE", help="figures, read and written (sizes.json)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the true size, for a quick look (default: 1)"
    )
    parser.add_argument("--all-items", action="store_true", help="keep the true number of items at a smaller scale")
    parser.add_argument("--ml-1m", type=Path, metavar="PATH", help="the real raw files of ML-1M")
    parser.add_argument("--lfm-events", type=int, default=SIZES["lfm-1b"].events, help="events in the log of LFM-1b")
    parser.add_argument("--model", default="Mamba4Rec")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and of our kernels (default: 1)")
    parser.add_argument("--keep", action="store_true", help="keep raw and prepared files")
    options = parser.parse_args()
    options.device = "cpu"
    if not 0 < options.scale <= 1:
        parser.error(f"--scale must be over 0 and at most 1, it is {options.scale}")
    if options.ml_1m and not options.ml_1m.exists():
        parser.error(f"--ml-1m: {options.ml_1m} does not exist")
    for name in options.rows:
        size = size_of(name, options)
        if size.pairs < size.items:
            parser.error(
                f"--all-items: {name} has {size.items} items, but {size.pairs} events at --scale={options.scale}"
            )
    pairs = SIZES["lfm-1b"].pairs
    if options.lfm_events < pairs:
        parser.error(
            f"--lfm-events must be at least the {pairs} pairs of users and artists, it is {options.lfm_events}"
        )
    return options


def read_figures(options: argparse.Namespace) -> dict[tuple[str, str], dict]:
    """Return the figures of an earlier call by row and stage."""
    file = Path(options.json)
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text())
        found = {(figure["row"], figure["stage"]): figure for figure in content["figures"]}
        earlier = content["options"]
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{file} holds no figures of this benchmark ({error!r}); name another with --json") from None
    for flag in MUST_MATCH:
        if flag == "lfm_events" and not any(row == "lfm-1b" for row, _ in found):
            continue
        if earlier.get(flag) != getattr(options, flag):
            raise SystemExit(f"{file} was measured with {flag}={earlier.get(flag)}; name another file with --json")
    return found


def run_row(name: str, options: argparse.Namespace, figures: dict[tuple[str, str], dict]) -> None:
    """Run the stages of a dataset that have no figures yet."""
    missing = [stage for stage in options.stages if "peak_gib" not in figures.get((name, stage), {})]
    if name != "ml-1m":
        # larger ones do not fit
        missing = [stage for stage in missing if stage != "RecBole's start"]
    if not missing:
        return
    real = name == "ml-1m" and options.ml_1m
    raw = options.ml_1m if real else options.folder / "generated" / name
    job = Job(name, raw, options.folder, options.model, options.threads)
    if job.inter_file.parent.exists() and (name, "prepare") not in figures:
        raise SystemExit(
            f"{job.inter_file.parent} is not from this benchmark, which would remove it; choose another --folder"
        )
    if missing[0] != "prepare" and not job.inter_file.is_file():
        missing.insert(0, "prepare")
    if missing[0] == "prepare" and not real:
        write_raw_files(job, size_of(name, options))
    for stage in missing:
        print(f"{name}: {stage}", flush=True)
        try:
            found = measure(stage, job)
        except BrokenProcessPool:
            found = {"failed": "the process was killed, most likely for its memory"}
        figures[name, stage] = {"row": name, "stage": stage, **found}
        print(json.dumps(figures[name, stage]), flush=True)
        save(options, figures)
        if stage == "prepare" and not options.keep and not real:
            shutil.rmtree(raw)
        if "failed" in found and stage == "prepare":
            return
    if not options.keep:
        shutil.rmtree(job.inter_file.parent)


def size_of(name: str, options: argparse.Namespace) -> Size:
    """Return the size of the log that is generated."""
    size = SIZES[name]
    if name == "lfm-1b":
        size = replace(size, events=options.lfm_events)
    scaled = size.scaled(options.scale)
    return replace(scaled, items=size.items) if options.all_items else scaled


def write_raw_files(job: Job, size: Size) -> None:
    """Write the raw files of a dataset unless they are there; half of them are never taken for all."""
    if job.raw.exists():
        return
    job.raw.parent.mkdir(parents=True, exist_ok=True)
    needed, free = 3 * RAW_BYTES[job.name] * size.events, shutil.disk_usage(job.raw.parent).free
    if needed > free:
        raise SystemExit(
            f"{job.name} needs about {needed / 1e9:.0f} GB in {job.folder}, where {free / 1e9:.0f} GB are free; "
            "choose another --folder, a smaller --scale or other --rows"
        )
    print(f"{job.name}: write {size.events:,} events", flush=True)
    partial = job.raw.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    WRITERS[job.name](partial, size)
    partial.rename(job.raw)


def save(options: argparse.Namespace, figures: dict[tuple[str, str], dict]) -> None:
    from benchmarks import timing

    timing.write_figures(options.json, options, list(figures.values()))


def print_table(figures: dict[tuple[str, str], dict]) -> None:
    """Print seconds, in brackets the processor's, and peak memory of every stage."""
    from benchmarks import timing

    names = list(dict.fromkeys(row for row, _ in figures))
    rows = [[name, *(describe(figures, name, column) for column in COLUMNS)] for name in names]
    print("Seconds (of the processor) and peak memory in GiB")
    print(timing.format_table(["", *COLUMNS], rows))


def describe(figures: dict[tuple[str, str], dict], name: str, column: str) -> str:
    """Return a cell of the table, empty for what was not measured."""
    stage = "step" if column == "hours an epoch" else column
    found = figures.get((name, stage))
    if found is None or "failed" in found:
        return "failed" if found else ""
    if column == "hours an epoch":
        return f"{found['epoch_cpu_hours']}"
    if column == "step":
        return f"{found['step_seconds']} ({found['step_cpu_seconds']}), {found['peak_gib']}"
    return f"{found['seconds']:.0f} ({found['cpu_seconds']:.0f}), {found['peak_gib']}"


if __name__ == "__main__":
    main()
