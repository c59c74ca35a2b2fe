"""The command line: ``python -m dataset_prep NAME --raw DIR [--out dataset]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dataset_prep import ml1m

SOURCES = {"ml-1m": ml1m.prepare}


def main(arguments: list[str] | None = None) -> int:
    """Prepare one data set; exit code 1 and one line on bad input."""
    parser = argparse.ArgumentParser(prog="python -m dataset_prep", description="Raw data to RecBole atomic files.")
    parser.add_argument("name", choices=sorted(SOURCES), help="the data set")
    parser.add_argument("--raw", type=Path, required=True, help="the folder of its unpacked distribution")
    parser.add_argument(
        "--out", type=Path, default=Path("dataset"), help="where NAME/NAME.inter goes (default: dataset)"
    )
    options = parser.parse_args(arguments)
    try:
        print(SOURCES[options.name](options.raw, options.out))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
