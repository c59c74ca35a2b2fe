"""Search with Hyperopt, one trial after another; every finished trial is kept in a file."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from packaging.version import Version
from recbole.trainer.hyper_tuning import HyperTuning

from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import naming_the_disk
from recbole_echomamba.system.terminal import PROGRESS
from recbole_echomamba.tuning.search_space import Range, convert_to_plain

TRAINING_ERRORS = (ValueError, ArithmeticError, AssertionError, torch.OutOfMemoryError)
"""Errors that make a trial fail: a loss of NaN, sizes that do not fit each other, or a model too large for the GPU."""


class Search(HyperTuning):
    """Search like RecBole's ``HyperTuning``, keep every trial in a file, and resume a search from that file.

    The proposals of Hyperopt follow from its seed and the scores so far. Started again with the same seed, a search makes the
    same proposals, and takes the scores of those that are in the file from there. Settings that are proposed twice are trained
    once.

    Args:
        objective: trains a trial, see :class:`.Objective`.
        space: the ranges of the settings by name.
        file: the file of trials, one JSON object a line; created if it does not exist.
        algo: ``exhaustive``, ``random`` or ``bayes``.
        max_evals: the number of trials; an exhaustive search makes all.
        early_stop: the search stops after this many trials without a better one.
        seed: the seed of the proposals.

    Attributes:
        trials: the trials in the order of the file: ``params``, and what the objective returned; or an ``error`` and
            ``None`` as ``best_valid_score``.
    """

    def __init__(
        self,
        objective: Callable[[dict], dict],
        space: dict[str, Range],
        file: Path,
        algo: str,
        max_evals: int,
        early_stop: int,
        seed: int,
    ):
        self.file = file
        self.seed = seed
        self.trials = read_trials(file)
        self._trials_by_key = {_make_key(trial["params"]): trial for trial in self.trials}
        self._objective = objective
        self._ranges = space
        nodes = {name: each.to_hyperopt(name) for name, each in space.items()}
        if algo == "exhaustive":
            # RecBole's own draws combinations with a generator that Hyperopt 0.3 does not accept
            algo = self._propose_next
            max_evals = math.prod(len(each.values) for each in space.values())
        super().__init__(self._get_trial, space=nodes, algo=algo, max_evals=max_evals, early_stop=early_stop)

    def trial(self, params: dict) -> dict:
        """Override RecBole's: settings that cannot be trained are a failed trial, not the end of the search."""
        params = {name: self._ranges[name].from_hyperopt(value) for name, value in params.items()}
        if self._get_trial(params)["best_valid_score"] is None:
            # not infinity, with which Hyperopt's early stopping cannot calculate
            return {"loss": sys.float_info.max, "status": "fail"}
        # RecBole prints every trial in its own way.
        with contextlib.redirect_stdout(None):
            return super().trial(params)

    def _print_result(self, result_dict: dict):
        """Override RecBole's, which prints test metrics: a trial has none."""

    def run(self) -> None:
        """Make all trials; where every one fails, their errors are in :attr:`trials`.

        Raises:
            KeyboardInterrupt: on Ctrl-C; the finished trials are in the file.
        """
        from hyperopt import fmin
        from hyperopt.exceptions import AllTrialsFailed

        with contextlib.suppress(AllTrialsFailed):
            fmin(
                self.trial,
                self.space,
                algo=self.algo,
                max_evals=self.max_evals,
                early_stop_fn=self.early_stop_fn,
                show_progressbar=False,
                rstate=make_generator(self.seed),
            )

    def _propose_next(self, new_ids: list[int], domain, trials, seed: int) -> list[dict]:
        """Propose combinations of choices in random order, none twice; it has the arguments of Hyperopt's algorithms."""
        combinations = list(itertools.product(*(range(len(each.values)) for each in self._ranges.values())))
        random.Random(self.seed).shuffle(combinations)
        documents = []
        for new_id, combination in zip(new_ids, combinations[len(trials.trials) :], strict=False):
            values = dict(zip(self._ranges, combination, strict=True))
            misc = {"tid": new_id, "cmd": domain.cmd, "workdir": domain.workdir}
            misc["idxs"] = {name: [new_id] for name in values}
            misc["vals"] = {name: [place] for name, place in values.items()}
            documents += trials.new_trial_docs([new_id], [None], [domain.new_result()], [misc])
        return documents

    def _get_trial(self, params: dict, config_files=None) -> dict:
        """Return the trial with these settings from the file, or train it and add it to the file."""
        params = convert_to_plain(params)
        key = _make_key(params)
        if key not in self._trials_by_key:
            try:
                outcome = self._objective(params)
            except TRAINING_ERRORS as error:
                outcome = {"best_valid_score": None, "error": str(error)}
            trial = {"params": params, **outcome}
            append_line(self.file, trial)
            self.trials.append(trial)
            self._trials_by_key[key] = trial
            PROGRESS.info("trial %d: %s", len(self.trials), describe_trial(trial))
        return self._trials_by_key[key]


def describe_trial(trial: dict) -> str:
    """Return the settings of a trial, and its score or why it has none."""
    settings = ", ".join(f"{name} {value}" for name, value in trial["params"].items())
    if trial["best_valid_score"] is None:
        return f"{settings}: failed, {trial['error']}"
    return f"{settings}: best validation {trial['best_valid_score']:.4f}"


def make_generator(seed: int) -> np.random.Generator | np.random.RandomState:
    """Return the random generator that the installed Hyperopt takes: a ``RandomState`` before 0.2.6, a ``Generator`` since."""
    import hyperopt

    if Version(hyperopt.__version__) < Version("0.2.6"):
        return np.random.RandomState(seed)
    return np.random.default_rng(seed)


def append_line(file: Path, entry: dict) -> None:
    """Append a line of JSON and wait until it is on the disk.

    An incomplete last line, left by a process that was killed while writing, is removed first.
    """
    with naming_the_disk(file), open(file, "ab+") as lines:
        lines.seek(0)
        complete, newline, _ = lines.read().rpartition(b"\n")
        lines.truncate(len(complete) + len(newline))
        lines.write(json.dumps(entry).encode() + b"\n")
        lines.flush()
        os.fsync(lines.fileno())


def read_trials(file: Path) -> list[dict]:
    """Read the complete lines of a file of trials; none when the file does not exist.

    Raises:
        UserError: a line is damaged; the message names it.
    """
    if not file.is_file():
        return []
    complete, _, _ = file.read_bytes().rpartition(b"\n")
    trials = []
    for number, line in enumerate(complete.splitlines(), 1):
        try:
            trial = json.loads(line)
            _make_key(trial["params"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{file}, line {number} is damaged ({error}); remove the line to repeat the trial"
            ) from None
        trials.append(trial)
    return trials


def _make_key(params: dict) -> str:
    return json.dumps(params, sort_keys=True)
