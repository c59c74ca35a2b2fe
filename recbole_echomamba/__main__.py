"""The command line: ``python -m recbole_echomamba run|compare|tune|recommend|inspect``, also installed as ``echomamba``."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from importlib.metadata import version

from recbole_echomamba import cli
from recbole_echomamba.cli import names_from, settings_from, table
from recbole_echomamba.system.errors import UserError

USAGE = """%(prog)s --model=NAME --dataset=NAME [--key=value ...]

Any setting of RecBole or of this package can follow as --key=value, e.g. --epochs=10 --learning_rate=0.01."""


def run_parser() -> argparse.ArgumentParser:
    """RecBole's own flags, and ours."""
    parser = argparse.ArgumentParser(prog="run_recbole.py", usage=USAGE, allow_abbrev=False)
    parser.add_argument("--model", "-m", help="EchoMamba4Rec, Mamba4Rec, or any sequential model of RecBole")
    parser.add_argument("--dataset", "-d", help="the name of a folder under data_path (dataset/), or ml-100k")
    parser.add_argument("--config_files", help="YAML files, separated by spaces or commas; later ones win")
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine")
    parser.add_argument("--ip", default="localhost", help="of the first machine")
    parser.add_argument("--port", default="5678", help="on the first machine")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process")
    parser.add_argument("--result_file", help="write the result there too, as JSON")
    parser.add_argument("--resume", metavar="DIR", help="go on with a run that was interrupted, or with more --epochs")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def run_door(arguments: list[str]) -> None:
    """Train and test one model, then print its table."""
    known, rest = run_parser().parse_known_args(arguments)
    settings = settings_from(rest)
    from recbole_echomamba.experiment import run

    processes = {key: getattr(known, key) for key in ("nproc", "world_size", "ip", "port", "group_offset")}
    result = run(
        *(known.model, known.dataset, names_from(known.config_files), settings),
        result_file=known.result_file,
        resume=known.resume,
        **processes,
    )
    if result:  # of several processes, the first has it
        print(table(result))


DOORS = {"run": run_door, **cli.DOORS}


def main(arguments: list[str] | None = None) -> int:
    """Open a door by name; an error is one line, or a traceback with ``--debug``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    usage = f"usage: echomamba {{{','.join(DOORS)}}} ...  (each has a --help)"
    if arguments and arguments[0] in ("-h", "--help", "--version"):
        lines = [f"  {name:10} {door.__doc__}" for name, door in DOORS.items()]
        print(version("recbole_echomamba") if arguments[0] == "--version" else "\n".join([usage, "", *lines]))
        return 0
    if not arguments or arguments[0] not in DOORS:
        print(usage, file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")  # its old spellings
    warnings.filterwarnings("ignore", message=".*GradScaler.*", category=FutureWarning)
    try:
        DOORS[arguments[0]](arguments[1:])
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if "--debug" in arguments:
            raise
        logging.shutdown()
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        print(f"error: {kind}{error}", file=sys.stderr)
        if not isinstance(error, UserError):
            print("run again with --debug for the traceback", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
