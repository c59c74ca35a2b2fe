"""The command line: ``echomamba run|compare|tune|recommend|inspect|export|card``."""

from __future__ import annotations

import argparse
import errno
import importlib.metadata
import itertools
import os
import sys
from collections.abc import Iterable

from dataset_prep.arguments import refuse_repeats
from recbole_echomamba.commands import COMMANDS, Command
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import DISK_ERRORS
from recbole_echomamba.system.terminal import showing_progress

DESCRIPTION = "Train, compare, tune and use sequential recommenders on RecBole's data pipeline."

EPILOG = """\
'%(prog)s COMMAND --help' lists the arguments of a command.

Examples:
  %(prog)s run --model=EchoMamba4Rec --dataset=ml-100k
  %(prog)s compare --models=EchoMamba4Rec,SASRec --dataset=ml-100k --seeds=2020,2021,2022
  %(prog)s recommend --run=saved/RUN --all --out=top.csv
"""

SETTINGS_HELP = """\
--KEY=VALUE sets any setting of RecBole or of this package, for example
--learning_rate=0.002 --hidden_size=128 --topk='[5,10]'. An unknown key is an error.
The defaults are in the folder properties/."""


PATH_ERRORS = DISK_ERRORS | {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""Errors of the operating system that a path which a user named is the reason of."""


def main(arguments: list[str] | None = None, prog: str | None = None) -> int:
    """Execute one command and return the exit code.

    Args:
        arguments: the command's name and its arguments, by default those of this process.
        prog: how usage lines and examples call the command, for a script that stands for a single command;
            by default ``echomamba COMMAND``.

    Returns:
        0 on success, 1 after an error, 2 for arguments that cannot be parsed, 130 after Ctrl-C.

    Raises:
        Exception: any error of the command, if ``--debug`` is given. Without it the error is printed.
    """
    try:
        options, rest = build_parser(prog).parse_known_args(arguments)
    except SystemExit as finished:
        # argparse has printed the help, the version or the error.
        return int(finished.code or 0)
    try:
        with showing_progress(options.verbose, main_process=os.environ.get("RANK", "0") == "0"):
            options.execute(options, parse_settings(rest, options.flags))
    except KeyboardInterrupt as interruption:
        print(str(interruption) or "interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            raise
        print(format_error(error), file=sys.stderr)
        return 1
    return 0


def format_error(error: Exception) -> str:
    """Return what to print for an error: one line for what a user can mend, a note on the bug for any other."""
    if isinstance(error, UserError):
        return f"error: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name == "recbole":
        return f"error: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        # a library wrote its own file, such as TensorBoard in the working directory
        return f"error: {os.strerror(error.errno).lower()}: free some in {os.getcwd()} and in the folders given, then resume"
    if isinstance(error, OSError) and error.filename and error.errno in PATH_ERRORS:
        return f"error: {str(error.filename)!r} cannot be used: {error.strerror}"
    return (
        f"error: {type(error).__name__}: {error}\n"
        "This is a bug in recbole_echomamba. Give the same command with --debug to see the traceback."
    )


def parse_settings(arguments: list[str], flags: Iterable[str] = ()) -> dict[str, str]:
    """Return ``--key=value`` arguments as a dictionary. A value may contain ``=``.

    Args:
        arguments: those that are no flags of the command.
        flags: the flags of the command, to recognise one with ``_`` for ``-`` or the other way round.

    Raises:
        UserError: an argument is a misspelt flag or has another form, or a key has two different values.
    """
    spelling = {flag.replace("-", "_"): flag for flag in flags}
    settings: dict[str, str] = {}
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        flag, equals, value = argument.partition("=")
        key = flag.removeprefix("--")
        if flag.replace("-", "_") in spelling:
            raise UserError(f"there is no {flag}; write {spelling[flag.replace('-', '_')]}")
        if not argument.startswith("--") or not equals or not key:
            is_split = argument.startswith("--") and following and not following.startswith("--")
            written = f"{argument}={following}" if is_split else "--key=value"
            raise UserError(f"cannot read the argument {argument!r}; write settings as {written}")
        if settings.setdefault(key, value) != value:
            raise UserError(f"--{key} is given twice, as {settings[key]!r} and {value!r}")
    return settings


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Parsed arguments have the attributes ``execute``, the function of the command, ``flags``, its flags, and ``debug``.

    Args:
        prog: how usage lines call the command, see :func:`main`.
    """
    parser = argparse.ArgumentParser(
        prog="echomamba",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=_find_version(), help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        _add_command(commands, name, command, prog or f"echomamba {name}")
    return parser


def _add_command(commands, name: str, command: Command, prog: str) -> None:
    examples = "\n".join(f"  %(prog)s {arguments}" for arguments in command.examples)
    parser = commands.add_parser(
        name,
        prog=prog,
        usage=f"%(prog)s {command.usage} [options] [--KEY=VALUE ...]",
        help=command.summary,
        description=command.summary,
        epilog=f"Examples:\n{examples}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    refuse_repeats(parser)
    command.add_arguments(parser)
    parser.add_argument_group("settings", SETTINGS_HELP)
    general = parser.add_argument_group("general")
    general.add_argument("-h", "--help", action="help", help="show this help and exit")
    general.add_argument(
        "--verbose", action="store_true", help="show all that is logged, with settings and progress bars"
    )
    general.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(execute=command.execute, flags=list(parser._option_string_actions))


def _find_version() -> str:
    try:
        return importlib.metadata.version("recbole_echomamba")
    except importlib.metadata.PackageNotFoundError:
        return "unknown: recbole_echomamba is not installed"
