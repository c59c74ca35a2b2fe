"""The command line: ``python -m dataset_prep NAME --raw PATH... [--out dataset] [options]``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from dataset_prep import amazon, lfm1b, movielens, netflix, origins, table, tmall
from dataset_prep.arguments import refuse_repeats
from dataset_prep.atomic_file import is_plain_name
from dataset_prep.download import download
from dataset_prep.errors import PreparationError, one_line
from dataset_prep.malformed import MOST_SKIPPED, MalformedRows
from dataset_prep.preparation import prepare
from dataset_prep.raw_files import LARGEST_RATIO, RawFiles

SOURCES = {name: module for module in (movielens, netflix, tmall, lfm1b, amazon, table) for name in module.NAMES}
"""The module that reads each dataset."""


def main(arguments: list[str] | None = None) -> int:
    """Prepare one dataset.

    Args:
        arguments: arguments of the command line; those of the process by default.

    Returns:
        The exit code: 0, or 1 after an error, which is printed as one line.
    """
    options = make_parser().parse_args(arguments)
    try:
        print(_run(options))
    except Exception as error:
        if options.debug:
            raise
        if isinstance(error, PreparationError):
            print(f"error: {one_line(error)}", file=sys.stderr)
        else:
            print(f"error: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
            print("this is a bug; run again with --debug for the traceback", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> str:
    raw_files = RawFiles(*_raw_paths(options), max_ratio=options.max_ratio)
    malformed = MalformedRows(options.skip_bad)
    source = SOURCES[options.source].open_source(raw_files, options, malformed)
    return prepare(source, options, malformed)


def _raw_paths(options: argparse.Namespace) -> list[Path]:
    if options.download:
        if options.source not in origins.MOVIELENS:
            raise PreparationError(f"--download cannot fetch {options.source}: {_how_to_get(options.source)}")
        if len(options.raw or []) > 1:
            raise PreparationError("--download needs a single folder as --raw")
        return [download(options.source, options.raw[0] if options.raw else Path("raw"))]
    if options.raw is None:
        raise PreparationError(f"--raw is missing: {_how_to_get(options.source)}")
    return options.raw


def _how_to_get(name: str) -> str:
    return table.ACCEPTED_FILES if name == "table" else origins.how_to_get(name)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser, with one sub-command for each dataset."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_prep", description="Convert the raw files of a dataset to RecBole's atomic files."
    )
    commands = parser.add_subparsers(dest="source", metavar="NAME", required=True, help=", ".join(SOURCES))
    for name, module in SOURCES.items():
        command = commands.add_parser(
            name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        refuse_repeats(command)
        if name == "table":
            _add_table_arguments(command)
        else:
            _add_dataset_arguments(command, name)
        _add_common_arguments(command, name)
        if hasattr(module, "add_arguments"):
            module.add_arguments(command)
    return parser


def _add_dataset_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    _add_raw_argument(parser, "the archive as it is distributed, or a folder or files from it")
    parser.add_argument("--name", type=_file_name, default=name, help=f"name of the prepared dataset (default: {name})")
    parser.add_argument(
        "--download",
        action="store_true",
        help="first download the archive into the folder --raw (default: raw); MovieLens only",
    )


def _add_table_arguments(parser: argparse.ArgumentParser) -> None:
    _add_raw_argument(parser, ".csv, .tsv, .jsonl or .parquet files, or folders of them; may be given several times")
    parser.add_argument("--name", type=_new_dataset_name, required=True, help="name of the prepared dataset")
    # Every dataset has the same options, but a table has no published archive.
    parser.add_argument("--download", action="store_true", help=argparse.SUPPRESS)


def _add_raw_argument(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument("--raw", type=Path, nargs="+", action="extend", metavar="PATH", help=help_text)


def _add_common_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("dataset"),
        help="folder in which NAME/NAME.inter is written (default: dataset)",
    )
    parser.add_argument(
        "--min-user",
        type=_positive_number,
        default=1,
        metavar="N",
        help="keep users with at least N events, repeated with --min-item until nothing changes",
    )
    parser.add_argument(
        "--min-item", type=_positive_number, default=1, metavar="N", help="keep items with at least N events"
    )
    parser.add_argument("--last", type=_positive_number, metavar="N", help="keep each user's last N events")
    parser.add_argument("--users", type=_positive_number, metavar="N", help="keep N users, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0, help="seed of --users (default: 0)")
    parser.add_argument(
        "--dedup",
        choices=["keep-first", "keep-last", "count"],
        help="keep one event for each user and item, by time, then raw order; count keeps the first and adds their number",
    )
    parser.add_argument(
        "--order",
        choices=["raw", "time"],
        default="raw",
        help="order of the rows: raw, as published figures need it (default), or exact time, "
        "where timestamp becomes the position in the user's history",
    )
    parser.add_argument(
        "--skip-bad",
        type=_share,
        nargs="?",
        const=MOST_SKIPPED,
        default=False,
        metavar="SHARE",
        help="skip and count malformed rows instead of stopping at the first, up to this share of all (default: %(const)s)",
    )
    strict_help = "stop if the totals differ from the published ones"
    parser.add_argument("--strict", action="store_true", help=argparse.SUPPRESS if name == "table" else strict_help)
    parser.add_argument(
        "--memory-limit", default="2GB", metavar="SIZE", help="how much memory DuckDB may use (default: 2GB)"
    )
    parser.add_argument(
        "--max-ratio",
        type=_positive_number,
        default=LARGEST_RATIO,
        metavar="N",
        help="refuse files over 64 MiB that unpack to more than N times their compressed size (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="prepare again even if nothing has changed")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _file_name(text: str) -> str:
    if not is_plain_name(text):
        raise argparse.ArgumentTypeError(f"must be a short, plain name for a folder and its files, not {text!r}")
    return text


def _new_dataset_name(text: str) -> str:
    if text in SOURCES:
        raise argparse.ArgumentTypeError(f"{text!r} is the name of a dataset with its own settings: choose another")
    return _file_name(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"must be a share above 0 and at most 1, not {text!r}")
    return share


def _positive_number(text: str) -> int:
    # ² is a digit, and Python reads at most 4300 of them.
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
