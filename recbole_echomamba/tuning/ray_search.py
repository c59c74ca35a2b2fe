"""A search with Ray Tune: trials side by side, on one machine or a cluster, the hopeless ones stopped early by ASHA."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from pathlib import Path

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from recbole_echomamba.system.files import write_text
from recbole_echomamba.tuning.search_space import Range, plain


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
    """Random search under ASHA (Li et al., arXiv 1810.05934); resumed from ``out/ray``, Ray's state, and ``out/epochs``.

    Args:
        objective: an :class:`.tuning.Objective`. config: for the metric, the seed and the number of epochs.
        address: of a running cluster, or ``None`` to start Ray here. cpus, gpus: kept free for each trial.

    Returns:
        ``params, best_valid_score, best_valid_result, epochs, seconds`` of every trial that was validated and did not fail.

    Raises KeyboardInterrupt when the search was interrupted.
    """
    epochs = out / "epochs"

    def trial(params):
        # Ray names the GPUs of this trial there, and RecBole would overwrite it with its own setting
        objective.settings["gpu_id"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        replayed(objective, plain(params), epochs, _report)

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
    whole = [result for result in results if result.error is None and result.metrics]
    validated = [result for result in whole if "best_valid_score" in result.metrics]
    return [
        {"params": plain(result.config), **{key: result.metrics[key] for key in KEPT}}
        for result in sorted(validated, key=lambda result: result.metrics["trial_id"])
    ]


def replayed(objective, params: dict, kept: Path, report) -> None:
    """Run one trial, or report again what an earlier run of the same settings has reported.

    Ray writes its state every few seconds, so that after a kill it repeats trials that had finished in between. Each epoch is
    therefore kept in ``kept`` by the trial itself; all machines of a cluster must see that folder to gain by it.
    """
    kept.mkdir(parents=True, exist_ok=True)  # on another machine it may be missing
    file = kept / f"{hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]}.json"
    before = json.loads(file.read_text()) if file.is_file() else {"epochs": [], "finished": False}
    for standing in before["epochs"]:
        report(standing)
    if before["finished"]:
        return
    epochs: list[dict] = []

    def after_epoch(standing: dict) -> None:
        epochs.append(standing)
        if len(epochs) > len(before["epochs"]):
            write_text(file, json.dumps({"epochs": epochs, "finished": False}))
            report(standing)

    objective(params, after_epoch)
    write_text(file, json.dumps({"epochs": epochs, "finished": True}))


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
