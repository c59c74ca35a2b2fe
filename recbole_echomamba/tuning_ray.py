"""A search with Ray Tune: trials side by side, on one machine or a cluster, the hopeless ones stopped early by ASHA."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from recbole_echomamba.search_space import Range
from recbole_echomamba.tuning import plain


def search(
    objective,
    space: dict[str, Range],
    out: Path,
    config,
    max_evals: int,
    resume: bool,
    address,
    cpus: float,
    gpus: float,
) -> list[dict]:
    """Random search under ASHA (Li et al., arXiv 1810.05934); the state lies in ``out/ray`` and is resumed from there.

    Args:
        objective: an :class:`.tuning.Objective`. config: for the metric, the seed and the number of epochs.
        address: of a running cluster, or ``None`` to start Ray here. cpus, gpus: kept free for each trial.

    Returns:
        ``params, best_valid_score, best_valid_result, epochs, seconds`` of every trial that was validated at least once.

    Raises KeyboardInterrupt when the search was interrupted.
    """

    def trial(params):
        # Ray names the GPUs of this trial there, and RecBole would overwrite it with its own setting
        objective.settings["gpu_id"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        objective(plain(params), _report)

    os.environ.setdefault(
        "TUNE_GLOBAL_CHECKPOINT_S", "1"
    )  # seconds of work that a kill may cost, beside running trials
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports home unless told not to
    where = {"address": address} if address else {"address": "local", "include_dashboard": False}
    ray.init(**where, ignore_reinit_error=True)
    trainable = tune.with_resources(trial, {"cpu": cpus, "gpu": gpus})
    domains = {name: each.ray() for name, each in space.items()}
    if resume and tune.Tuner.can_restore(str(out / "ray")):
        tuner = tune.Tuner.restore(str(out / "ray"), trainable=trainable, param_space=domains)
    else:
        scheduler = ASHAScheduler(
            max_t=config["epochs"], grace_period=max(1, config["epochs"] // 30), reduction_factor=2
        )
        mode = "max" if config["valid_metric_bigger"] else "min"
        chosen = tune.TuneConfig(
            metric="best_valid_score",
            mode=mode,
            num_samples=max_evals,
            scheduler=scheduler,
            search_alg=BasicVariantGenerator(random_state=config["seed"]),
        )
        kept = _run_config()(name="ray", storage_path=str(out), verbose=1)
        tuner = tune.Tuner(trainable, param_space=domains, tune_config=chosen, run_config=kept)
    results = tuner.fit()
    if results.num_terminated + results.num_errors < max_evals:
        raise KeyboardInterrupt
    validated = [result for result in results if result.metrics and "best_valid_score" in result.metrics]
    return [
        {"params": plain(result.config), **{key: result.metrics[key] for key in KEPT}}
        for result in sorted(validated, key=lambda result: result.metrics["trial_id"])
    ]


KEPT = ("best_valid_score", "best_valid_result", "epochs", "seconds")


def _report(standing: dict) -> None:
    if "metrics" in inspect.signature(tune.report).parameters:  # Ray 2.7 and later
        tune.report(standing)
    else:
        from ray.air import session

        session.report(standing)


def _run_config():
    if hasattr(tune, "RunConfig"):
        return tune.RunConfig
    from ray.air import RunConfig

    return RunConfig
