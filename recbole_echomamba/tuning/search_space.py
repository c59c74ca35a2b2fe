"""Read the search space of a model from a ``.hyper`` file, and convert it for Hyperopt, Optuna and Ray Tune.

Each line names a setting and its range: ``NAME choice [a,b]``, ``NAME uniform low,high``, ``NAME loguniform low,high`` (the
natural logarithms of the ends) or ``NAME quniform low,high,step``. Values are Python literals and never evaluated; ``#`` starts
a comment.
"""

from __future__ import annotations

import ast
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import read_text

NUMBERS_OF_KIND = {"uniform": 2, "loguniform": 2, "quniform": 3}
"""How many numbers each kind of range takes; a ``choice`` takes a list instead."""

MIN_LOGARITHM, MAX_LOGARITHM = -700, 700
"""Ends of ``loguniform`` beyond these are no normal floating-point numbers."""

LINE_HELP = "write NAME choice [a,b], NAME uniform low,high, NAME loguniform low,high or NAME quniform low,high,step"


@dataclass
class Range:
    """The values that one setting may have.

    Attributes:
        kind: ``choice``, ``uniform``, ``loguniform`` or ``quniform``.
        values: the choices; or low and high (for ``loguniform`` their logarithms), and for ``quniform`` the step.
    """

    kind: str
    values: list

    @property
    def first_value(self):
        """A value that the setting may have: the first choice, or the lowest value."""
        return math.exp(self.values[0]) if self.kind == "loguniform" else self.values[0]

    def to_hyperopt(self, name: str):
        """Return the node of Hyperopt's search space for the setting ``name``.

        A choice is searched by position, because Hyperopt would take a list among the values for a part of its graph.
        """
        from hyperopt import hp

        if self.kind == "choice":
            return hp.choice(name, list(range(len(self.values))))
        make_node = getattr(hp, self.kind)
        return make_node(name, *self.values)

    def from_hyperopt(self, value):
        """Return the value of the setting for what Hyperopt drew from :meth:`to_hyperopt`."""
        return self.values[value] if self.kind == "choice" else value

    def suggest_to_optuna(self, trial, name: str):
        """Draw a value of the setting ``name`` for a trial of Optuna; a choice is drawn by position, as for Hyperopt."""
        if self.kind == "choice":
            return self.values[trial.suggest_categorical(name, range(len(self.values)))]
        low, high = self.values[:2]
        if self.kind == "loguniform":
            return trial.suggest_float(name, math.exp(low), math.exp(high), log=True)
        return trial.suggest_float(name, low, high, step=self.values[2] if self.kind == "quniform" else None)

    def to_ray(self):
        """Return the domain of Ray Tune."""
        from ray import tune

        if self.kind == "choice":
            return tune.choice(self.values)
        make_domain = getattr(tune, self.kind)
        # Ray's loguniform takes the ends themselves, not their logarithms.
        ends = [math.exp(value) for value in self.values] if self.kind == "loguniform" else self.values
        return make_domain(*ends)


def read_space(file: Path | str) -> dict[str, Range]:
    """Read the ranges of a ``.hyper`` file by the names of their settings.

    Raises:
        MissingFileError: the file does not exist.
        UserError: a line cannot be read; the message names it. Or the file names no setting.
    """
    text = read_text(file, f"search space {file}", "name a .hyper file with --params_file")
    space: dict[str, Range] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split(maxsplit=2)
        if not words:
            continue
        try:
            name, kind, text = words
            if name in space:
                raise UserError(f"{name} is named a second time")
            space[name] = _parse_range(kind, text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            raise UserError(f"{file}, line {number}: cannot read {line.strip()!r} ({error}); {LINE_HELP}") from None
    if not space:
        raise UserError(f"{file} names no setting to search; {LINE_HELP}")
    return space


def convert_to_plain(params: dict) -> dict:
    """Convert the values that Hyperopt or Ray drew to Python's own types.

    NumPy scalars and tuples become numbers and lists. Whole floats become integers, since ``quniform`` draws sizes as floats.
    """
    plain = {}
    for name, value in params.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, tuple):
            value = list(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        plain[name] = value
    return plain


def _parse_range(kind: str, text: str) -> Range:
    values = ast.literal_eval(text if kind == "choice" else f"[{text}]")
    if kind == "choice":
        if not isinstance(values, list | tuple) or not values:
            raise UserError("a choice needs a list of values")
        # each trial is kept as JSON
        json.dumps(values, allow_nan=False)
        return Range(kind, list(values))
    if kind not in NUMBERS_OF_KIND:
        raise UserError(f"there is no kind {kind!r}")
    count = NUMBERS_OF_KIND[kind]
    if len(values) != count or not all(_is_finite(value) for value in values):
        raise UserError(f"{kind} needs {count} finite numbers")
    if values[0] >= values[1]:
        raise UserError("low must be below high")
    if kind == "quniform" and not 0 < values[2] <= values[1] - values[0]:
        raise UserError("the step must be above 0 and at most high - low")
    if kind == "loguniform" and not (values[0] > MIN_LOGARITHM and values[1] < MAX_LOGARITHM):
        raise UserError(f"the logarithms must be between {MIN_LOGARITHM} and {MAX_LOGARITHM}")
    return Range(kind, [float(value) for value in values])


def _is_finite(value) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max
