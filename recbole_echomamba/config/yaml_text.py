"""Parse YAML that a user wrote: anything that is not a moderate, valid document is one clear error."""

from __future__ import annotations

from typing import Any

import yaml

MAX_LEVELS = 50
"""How deep lists and mappings may be nested; Python can neither copy nor print a value of a thousand levels."""

MAX_VALUES = 100_000
"""How many values a document may have, with what its aliases repeat; ten lines of aliases can stand for a billion."""


def parse_yaml(text: str, loader: type = yaml.SafeLoader) -> Any:
    """Parse a YAML document.

    Args:
        text: the document.
        loader: the loader of PyYAML.

    Raises:
        ValueError: it is not valid, or over :data:`MAX_LEVELS` or :data:`MAX_VALUES`; the message is one line.
    """
    try:
        value = yaml.load(text, Loader=loader)
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_LEVELS} levels deep") from None
    except Exception as error:
        # PyYAML lets through whatever Python raises for a date such as 2020-13-45 or a number of 5000 digits.
        raise ValueError(" ".join(str(error).split())) from None
    if not is_moderate(value):
        raise ValueError(f"it is nested more than {MAX_LEVELS} levels deep or holds more than {MAX_VALUES} values")
    return value


def is_moderate(value: Any) -> bool:
    """Return whether a value is within :data:`MAX_LEVELS` and :data:`MAX_VALUES`."""
    count = 0
    remaining = [(value, 0)]
    while remaining:
        each, level = remaining.pop()
        count += 1
        if level > MAX_LEVELS or count > MAX_VALUES:
            return False
        if isinstance(each, dict):
            remaining += [(inner, level + 1) for inner in each.values()]
        elif isinstance(each, list | tuple | set):
            remaining += [(inner, level + 1) for inner in each]
    return True
