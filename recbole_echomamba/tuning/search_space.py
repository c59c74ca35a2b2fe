"""RecBole's ``.hyper`` files, read as literals: ``name choice [..]``, ``uniform``, ``quniform`` and ``loguniform`` lines."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_echomamba.system.errors import MissingFileError, UserError

NUMBERS = {"uniform": 2, "loguniform": 2, "quniform": 3}


@dataclass
class Range:
    """What one setting may be: ``choice`` of ``values``; or low, high (loguniform: their logarithms), and for quniform a step."""

    kind: str
    values: list

    @property
    def first(self):
        """A value the setting may have: the first choice, or the lowest."""
        return math.exp(self.values[0]) if self.kind == "loguniform" else self.values[0]

    def hyperopt(self, name: str):
        """As a node of hyperopt; a choice is one of places in ``values``, since hyperopt takes a list for part of its graph."""
        from hyperopt import hp

        return (
            hp.choice(name, list(range(len(self.values))))
            if self.kind == "choice"
            else getattr(hp, self.kind)(name, *self.values)
        )

    def value(self, drawn):
        """What hyperopt's drawing stands for."""
        return self.values[drawn] if self.kind == "choice" else drawn

    def ray(self):
        """As a domain of Ray Tune, whose loguniform takes the ends themselves."""
        from ray import tune

        if self.kind == "choice":
            return tune.choice(self.values)
        ends = map(math.exp, self.values) if self.kind == "loguniform" else self.values
        return getattr(tune, self.kind)(*ends)


def read_space(file: Path | str) -> dict[str, Range]:
    """The settings of a ``.hyper`` file and their ranges; nothing is evaluated, ``#`` begins a comment.

    Raises FileNotFoundError without the file, ValueError naming the line that cannot be read.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise MissingFileError(
            f"there is no file {file} that says what to search; name one with --params_file"
        ) from None
    space = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split(maxsplit=2)
        if not words:
            continue
        try:
            name, kind, text = words
            if name in space:
                raise UserError(f"{name} is named a second time")
            space[name] = _range(kind, text)
        except (ValueError, SyntaxError) as error:
            usage = "write `name choice [a,b]` or `name KIND low,high`, KIND uniform, loguniform or quniform (a step follows)"
            raise UserError(f"{file}, line {number}: cannot read {line.strip()!r} ({error}); {usage}") from None
    if not space:
        raise UserError(f"{file} names no setting to search")
    return space


def plain(params: dict) -> dict:
    """Settings in Python's own types; a whole number stays one where Hyperopt or Ray made it a float (quniform)."""
    found = {}
    for name, value in params.items():
        value = value.item() if isinstance(value, np.generic) else value
        found[name] = list(value) if isinstance(value, tuple) else value
        if isinstance(value, float) and value.is_integer():
            found[name] = int(value)
    return found


def _range(kind: str, text: str) -> Range:
    values = ast.literal_eval(text if kind == "choice" else f"[{text}]")
    if kind == "choice":
        if not isinstance(values, list | tuple) or not values:
            raise UserError("a choice needs a list of values")
        return Range(kind, list(values))
    if kind not in NUMBERS:
        raise UserError(f"there is no kind {kind!r}")
    if len(values) != NUMBERS[kind] or not all(isinstance(value, int | float) for value in values):
        raise UserError(f"{kind} needs {NUMBERS[kind]} numbers")
    if values[0] >= values[1]:
        raise UserError("low must be below high")
    if kind == "quniform" and values[2] <= 0:
        raise UserError("the step must be above 0")
    return Range(kind, [float(value) for value in values])
