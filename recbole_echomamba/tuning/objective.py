"""Train one trial of a search and report its validation metrics."""

from __future__ import annotations

import time
from collections.abc import Callable

from recbole.model.abstract_recommender import SequentialRecommender

from recbole_echomamba.config.config import Config
from recbole_echomamba.experiment import build
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.terminal import run_log
from recbole_echomamba.training.progress import open_log
from recbole_echomamba.training.trainer import Trainer

TRIAL_DEFAULTS = {"show_progress": False, "state": "WARNING"}
"""Settings of trials unless the user sets them: there are many trials, and the search shows its own progress."""


class Objective:
    """Train trials with common settings; the test part is not used and no weights are kept.

    Args:
        model: the name or class of the model, see :func:`.get_model`.
        dataset: the name of the dataset.
        config_files: YAML files with settings of all trials.
        settings: settings of all trials; those of a single trial have priority.
    """

    def __init__(self, model: str | type[SequentialRecommender], dataset: str, config_files: list[str], settings: dict):
        self.model = model
        self.dataset = dataset
        self.config_files = config_files
        self.settings = settings

    def __call__(self, params: dict, after_epoch: Callable[[dict], None] | None = None) -> dict:
        """Train a trial.

        Args:
            params: the settings of this trial.
            after_epoch: called after each validation with the result so far.

        Returns:
            ``best_valid_score, best_valid_result, epochs, seconds, model, valid_score_bigger``; ``after_epoch`` gets the first
            four.

        Raises:
            UserError: the settings cannot be used, or the trial was never validated.
        """
        start = time.perf_counter()
        with run_log() as log:
            config = Config(self.model, self.dataset, self.config_files, {**TRIAL_DEFAULTS, **self.settings, **params})
            open_log(log, config)
            built = build(config)
            trainer = Trainer(config, built.model)

            def report_epoch(epoch, score):
                if after_epoch is not None:
                    after_epoch(summarize_training(trainer, start))

            trainer.fit(
                built.train,
                built.valid,
                verbose=False,
                saved=False,
                show_progress=config["show_progress"],
                callback_fn=report_epoch,
            )
        result = summarize_training(trainer, start)
        return {**result, "model": config.model, "valid_score_bigger": config["valid_metric_bigger"]}


def summarize_training(trainer: Trainer, start: float) -> dict:
    """Return the metrics of the best epoch so far, the number of epochs and the seconds since ``start``.

    Raises:
        UserError: no epoch was validated.
    """
    validated = [entry for entry in trainer.history if "valid_score" in entry]
    best = next((entry for entry in validated if entry["epoch"] == trainer.best_epoch), None)
    if best is None:
        raise UserError("a trial was never validated; set eval_step to 1 and stopping_step above 0")
    return {
        "best_valid_score": best["valid_score"],
        "best_valid_result": best["valid_result"],
        "epochs": len(trainer.history),
        "seconds": time.perf_counter() - start,
    }
