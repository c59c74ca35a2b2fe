"""What a command of the command line consists of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        summary: one sentence, shown in the list of commands and above the command's own help.
        usage: the arguments that are needed, for the usage line.
        examples: arguments of example calls.
        add_arguments: adds the command's arguments to its parser.
        execute: executes the command, from the parsed arguments and the ``--key=value`` settings.
    """

    summary: str
    usage: str
    examples: list[str]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    execute: Callable[[argparse.Namespace, dict[str, str]], None]
