"""Arguments that several commands have."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from recbole_echomamba.system.signals import sigterm_interrupts


def split_list(text: str | None) -> list[str]:
    """Return the words of a list that is separated by commas or spaces."""
    return (text or "").replace(",", " ").split()


def split_history(text: str) -> list[str]:
    """Return the ids of ``--history``: the words of the text, or the entries of a JSON list."""
    try:
        ids = json.loads(text)
    except ValueError:
        ids = None
    return [str(each) for each in ids] if isinstance(ids, list) else text.split()


def add_config_files(group) -> None:
    """Add ``--config_files``."""
    help_text = (
        "YAML files with settings, or names in properties/variant, separated by commas or spaces; later ones win"
    )
    group.add_argument("--config_files", metavar="FILES", help=help_text)


def add_custom_model(group) -> None:
    """Add ``--model`` for a custom model."""
    help_text = "module:Class of a custom model that has moved since it was trained"
    group.add_argument("-m", "--model", metavar="NAME", help=help_text)


@contextlib.contextmanager
def explain_interruption(hint: str) -> Iterator[None]:
    """Within the block, let SIGTERM interrupt too, and replace the message of the interruption by a hint on how to resume."""
    try:
        with sigterm_interrupts():
            yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(hint) from None
