"""A search with Hyperopt, one trial after another, kept line by line."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from recbole.trainer.hyper_tuning import HyperTuning

from recbole_echomamba.tuning.search_space import Range, plain


class Search(HyperTuning):
    """RecBole's search with Hyperopt, kept in a file and resumed by replay.

    Hyperopt's proposals follow from its seed and the scores so far. A search that starts again with the same seed therefore
    makes the same proposals, and those whose score is in the file are not trained again; nor are settings drawn twice.

    Attributes:
        trials: one entry per different settings, in the order of the file.
    """

    def __init__(
        self, objective, space: dict[str, Range], file: Path, algo: str, max_evals: int, early_stop: int, seed: int
    ):
        self.file, self.seed, self.trials = file, seed, read_trials(file)
        self._known = {_key(trial["params"]): trial for trial in self.trials}
        self._objective = objective
        self._ranges = space
        nodes = {name: each.hyperopt(name) for name, each in space.items()}
        super().__init__(self._recorded, space=nodes, algo=algo, max_evals=max_evals, early_stop=early_stop)

    def _recorded(self, params: dict, _files) -> dict:
        params = plain(params)
        trial = self._known.get(_key(params))
        if trial is None:
            trial = {"params": params, **_attempt(self._objective, params)}
            append_line(self.file, trial)
            self.trials.append(trial)
            self._known[_key(params)] = trial
        return trial

    def trial(self, params):
        """RecBole's, but settings that cannot be trained are a failed trial instead of the end of the search."""
        params = {name: self._ranges[name].value(drawn) for name, drawn in params.items()}
        result = self._recorded(params, None)
        if result["best_valid_score"] is None:
            return {"loss": sys.float_info.max, "status": "fail"}  # infinity would end the early stopping's arithmetic
        with contextlib.redirect_stdout(None):  # RecBole prints every trial into the progress bar
            return super().trial(params)

    def _print_result(self, result_dict: dict):
        """RecBole prints test metrics here, which a trial does not have."""

    def run(self):
        """Search. Raises KeyboardInterrupt on Ctrl-C; what is finished stays in the file."""
        from hyperopt import fmin
        from hyperopt.exceptions import AllTrialsFailed

        with contextlib.suppress(AllTrialsFailed):  # each has said why
            fmin(
                self.trial,
                self.space,
                algo=self.algo,
                max_evals=self.max_evals,
                early_stop_fn=self.early_stop_fn,
                rstate=np.random.RandomState(self.seed),
            )


def append_line(file: Path, entry: dict) -> None:
    """Add one line of JSON and wait until it is on the disk. A torn line at the end, of a writer killed in it, goes first."""
    with open(file, "ab+") as lines:
        lines.seek(0)
        whole = lines.read().rpartition(b"\n")
        lines.truncate(len(whole[0]) + len(whole[1]))
        lines.write(json.dumps(entry).encode() + b"\n")
        lines.flush()
        os.fsync(lines.fileno())


def read_trials(file: Path) -> list[dict]:
    """The whole lines of a file of trials; none when there is no file yet."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_bytes().rpartition(b"\n")[0].splitlines()]


def _attempt(objective, params: dict) -> dict:
    try:
        return objective(params)
    # NaN loss, sizes that do not fit each other, or a model too large for the GPU
    except (ValueError, ArithmeticError, AssertionError, torch.OutOfMemoryError) as error:
        return {"best_valid_score": None, "error": str(error)}


def _key(params: dict) -> str:
    return json.dumps(params, sort_keys=True)
