"""Search with Optuna: every trial is in a journal that several processes can share, and weak trials end early.

The journal holds each trial with its settings, the score of every epoch and its outcome. A process asks it for settings, trains
them, and writes the outcome; started again, it resumes the search; started beside another, it joins it.
"""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from recbole_echomamba.system.files import naming_the_disk
from recbole_echomamba.system.terminal import PROGRESS
from recbole_echomamba.tuning.hyperopt_search import TRAINING_ERRORS, describe_trial
from recbole_echomamba.tuning.search_space import Range, convert_to_plain

JOURNAL_FILE = "optuna.journal"
WORKER = "worker"
"""The attribute that names the lock of the process that trains a trial."""

OUTCOME = "outcome"
"""The attribute of a trial in the journal that holds what the objective returned; an interrupted trial has none."""

TRIALS_BEFORE_PRUNING = 5
"""How many trials are trained to the end before the median of an epoch can end others."""


class Search:
    """Search the settings with the best validation score.

    Args:
        objective: trains a trial, see :class:`.Objective`.
        space: the ranges of the settings by name.
        folder: the folder of the search, which holds the journal.
        algo: ``exhaustive`` (every combination of choices), ``random`` (no combination of choices twice) or ``bayes``
            (tree-structured Parzen estimators, Bergstra et al. 2011).
        max_evals: the number of trials of all processes; an exhaustive search makes all.
        early_stop: the search stops after this many trials without a better one.
        seed: the seed of the proposals.
        maximize: whether a larger score is better.

    A trial holds ``params``, and what the objective returned; or an ``error`` and ``None`` as ``best_valid_score``. One that was
    ended early has ``pruned``.
    """

    def __init__(
        self,
        objective: Callable,
        space: dict[str, Range],
        folder: Path,
        algo: str,
        max_evals: int,
        early_stop: int,
        seed: int,
        maximize: bool,
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL_FILE)))
        self._folder = folder
        self._worker = f".worker-{secrets.token_hex(8)}.lock"
        self._objective = objective
        self._space = space
        self._max_evals = max_evals
        if _is_without_repetition(algo, space):
            combinations = math.prod(len(each.values) for each in space.values())
            self._max_evals = combinations if algo == "exhaustive" else min(max_evals, combinations)
        self._early_stop = early_stop
        pruner = optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=1)
        self._study = optuna.create_study(
            storage=storage,
            study_name="search",
            load_if_exists=True,
            direction="maximize" if maximize else "minimize",
            pruner=optuna.pruners.NopPruner() if algo == "exhaustive" else pruner,
        )
        # a further process must not make the proposals of the first one again
        self._study.sampler = _make_sampler(algo, space, seed + len(self._study.trials))

    @property
    def trials(self) -> list[dict]:
        """The finished trials, of all processes."""
        return [trial.user_attrs[OUTCOME] for trial in self._study.trials if OUTCOME in trial.user_attrs]

    def run(self) -> None:
        """Make all trials that the journal does not hold.

        Raises:
            KeyboardInterrupt: the search was interrupted; its trial is trained again when the search is resumed.
        """
        lock = FileLock(self._folder / self._worker)
        try:
            with lock:
                self._end_trials_of_killed_workers()
                self._enqueue_interrupted()
                if not self._is_over():
                    with naming_the_disk(self._folder / JOURNAL_FILE):
                        self._study.optimize(self._train, callbacks=[self._stop_when_over])
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
        self._wait_for_other_workers()

    def _wait_for_other_workers(self) -> None:
        """Wait until the trials of other processes have ended: only then are the best settings known, and tested."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            lock = FileLock(self._folder / trial.user_attrs.get(WORKER, self._worker))
            with lock:
                pass
            Path(lock.lock_file).unlink(missing_ok=True)

    def _train(self, trial: optuna.Trial) -> float:
        trial.set_user_attr(WORKER, self._worker)
        params = convert_to_plain({name: each.suggest_to_optuna(trial, name) for name, each in self._space.items()})
        outcome = self._find_trained(params)
        if outcome is None:
            outcome = {"params": params, **self._call_objective(trial, params)}
        trial.set_user_attr(OUTCOME, outcome)
        PROGRESS.info("trial %d: %s", trial.number + 1, describe_trial(outcome))
        if outcome["best_valid_score"] is None or outcome.get("pruned"):
            raise optuna.TrialPruned
        return outcome["best_valid_score"]

    def _call_objective(self, trial: optuna.Trial, params: dict) -> dict:
        so_far: dict = {}

        def report(result: dict) -> None:
            so_far.update(result)
            trial.report(result["best_valid_score"], result["epochs"])
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            return self._objective(params, report)
        except optuna.TrialPruned:
            return {**so_far, "pruned": True}
        except TRAINING_ERRORS as error:
            return {"best_valid_score": None, "error": str(error)}

    def _find_trained(self, params: dict) -> dict | None:
        """Return the outcome of an earlier trial with the same settings: they are trained once."""
        key = json.dumps(params, sort_keys=True)
        return next((trial for trial in self.trials if json.dumps(trial["params"], sort_keys=True) == key), None)

    def _end_trials_of_killed_workers(self) -> None:
        """End the trials that say they are running, but whose worker holds its lock no more, and remove such locks."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            lock = FileLock(self._folder / trial.user_attrs.get(WORKER, self._worker))
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                self._study.tell(trial.number, state=TrialState.FAIL)
                lock.release()
        for file in self._folder.glob(".worker-*.lock"):
            with contextlib.suppress(Timeout), FileLock(file, timeout=0):
                file.unlink(missing_ok=True)

    def _enqueue_interrupted(self) -> None:
        """Propose the settings of trials again that ended without an outcome, by Ctrl-C or ``kill -9``, each once."""

        def key_of(trial):
            return json.dumps(trial.system_attrs.get("fixed_params", trial.params), sort_keys=True)

        trials = self._study.trials
        made = {key_of(trial) for trial in trials if OUTCOME in trial.user_attrs or not trial.state.is_finished()}
        for trial in trials:
            if trial.state == TrialState.FAIL and key_of(trial) not in made:
                self._study.enqueue_trial(trial.params)
                made.add(key_of(trial))

    def _stop_when_over(self, study: optuna.Study, trial) -> None:
        if self._is_over():
            study.stop()

    def _is_over(self) -> bool:
        scores = [trial["best_valid_score"] for trial in self.trials]
        if len(scores) >= self._max_evals:
            return True
        scored = [place for place, score in enumerate(scores) if score is not None]
        if not scored:
            return False
        choose = max if self._study.direction == optuna.study.StudyDirection.MAXIMIZE else min
        best = choose(scored, key=lambda place: scores[place])
        return len(scores) - 1 - best >= self._early_stop


def _is_without_repetition(algo: str, space: dict[str, Range]) -> bool:
    return algo != "bayes" and all(each.kind == "choice" for each in space.values())


def _make_sampler(algo: str, space: dict[str, Range], seed: int) -> optuna.samplers.BaseSampler:
    if algo == "bayes":
        return optuna.samplers.TPESampler(seed=seed)
    if _is_without_repetition(algo, space):
        # draws combinations at random, none twice, and ends the search when there is none left
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.BruteForceSampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)
