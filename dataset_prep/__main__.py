"""The command line: ``python -m dataset_prep NAME --raw PATH [--out dataset] [options]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import duckdb

from dataset_prep import amazon, lfm1b, movielens, netflix, table, tmall
from dataset_prep.archive import Raw
from dataset_prep.download import download
from dataset_prep.preparation import prepare
from dataset_prep.rows import BadRows

SOURCES = {name: module for module in (movielens, netflix, tmall, lfm1b, amazon, table) for name in module.NAMES}


def main(arguments: list[str] | None = None) -> int:
    """Prepare one data set; exit code 1 and one line on bad input."""
    options = parser().parse_args(arguments)
    module = SOURCES[options.source]
    try:
        path = _raw_path(options, module)
        bad = BadRows(options.skip_bad)
        print(prepare(module.open_source(Raw(path), options, bad), options, bad))
    except duckdb.OutOfMemoryException as error:
        print(f"error: --memory-limit {options.memory_limit} is too little: {_first_line(error)}", file=sys.stderr)
        return 1
    except (OSError, ValueError, duckdb.Error) as error:
        print(f"error: {_first_line(error)}", file=sys.stderr)
        return 1
    return 0


def _raw_path(options: argparse.Namespace, module) -> Path:
    if options.download:
        if module is not movielens:
            raise ValueError(f"{options.source} cannot be downloaded for you: {module.getting(options.source)}")
        return download(options.source, options.raw or Path("raw"))
    if options.raw is None:
        raise ValueError(f"--raw is missing: {module.getting(options.source)}")
    return options.raw


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def parser() -> argparse.ArgumentParser:
    """One sub-command a data set, with the options its source adds."""
    whole = argparse.ArgumentParser(prog="python -m dataset_prep", description="Raw data to RecBole atomic files.")
    names = whole.add_subparsers(dest="source", metavar="NAME", required=True, help=", ".join(SOURCES))
    for name, module in SOURCES.items():
        one = names.add_parser(name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        _add_common(one, name)
        if hasattr(module, "add_arguments"):
            module.add_arguments(one)
    return whole


def _add_common(parser: argparse.ArgumentParser, name: str) -> None:
    own = name == "table"
    add = parser.add_argument
    raw = "one .csv, .tsv, .jsonl or .parquet file" if own else "the archive as distributed, a folder or a file"
    add("--raw", type=Path, metavar="PATH", help=raw)
    add("--out", type=Path, default=Path("dataset"), help="where NAME/NAME.inter goes (default: dataset)")
    add(
        "--name",
        type=_own_name if own else _file_name,
        required=own,
        default=None if own else name,
        help="the prepared data set's name" + f" (default: {name})" * (not own),
    )
    fetched = "fetch the archive into the folder --raw (default: raw) first; MovieLens only"
    add("--download", action="store_true", help=argparse.SUPPRESS if own else fetched)
    add(
        "--min-user",
        type=_positive,
        default=1,
        metavar="N",
        help="users with at least N events, iterated with --min-item",
    )
    add("--min-item", type=_positive, default=1, metavar="N", help="items with at least N events")
    add("--last", type=_positive, metavar="N", help="each user's last N events")
    add("--users", type=_positive, metavar="N", help="N users, drawn with --seed")
    add("--seed", type=int, default=0, help="default: 0")
    add(
        "--dedup",
        choices=["keep-first", "keep-last", "count"],
        help="one event per user and item, by time, then raw order; count keeps the first and their number",
    )
    add(
        "--order",
        choices=["raw", "time"],
        default="raw",
        help="raw, which published figures depend on (default), or exact time: timestamp becomes the place in a history",
    )
    add("--skip-bad", action="store_true", help="skip and count malformed rows instead of stopping")
    add(
        "--strict",
        action="store_true",
        help=argparse.SUPPRESS if own else "totals other than the published ones are an error",
    )
    add("--memory-limit", default="2GB", metavar="SIZE", help="what DuckDB may hold (default: 2GB)")
    add("--force", action="store_true", help="prepare again even if nothing has changed")


def _file_name(text: str) -> str:
    if not text or text.startswith(".") or "/" in text or "\0" in text:
        raise argparse.ArgumentTypeError(f"must be a plain name for a folder and its files, it is {text!r}")
    return text


def _own_name(text: str) -> str:
    if text in SOURCES:
        raise argparse.ArgumentTypeError(
            f"is that of a data set with settings of its own: choose another than {text!r}"
        )
    return _file_name(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, it is {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
