"""Search with Ray Tune: trials run at the same time, on one machine or a cluster, and ASHA stops weak ones early."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from recbole_echomamba.config.config import Config
from recbole_echomamba.system.files import read_json, write_text
from recbole_echomamba.tuning.objective import Objective
from recbole_echomamba.tuning.search_space import Range, convert_to_plain

RESULT_KEYS = ("best_valid_score", "best_valid_result", "epochs", "seconds")
"""What is kept of the last report of each trial."""


def search(
    objective: Objective,
    space: dict[str, Range],
    out: Path,
    config: Config,
    *,
    max_evals: int,
    resume: bool,
    address: str | None,
    cpus: float,
    gpus: float,
) -> list[dict]:
    """Search at random under ASHA (Li et al., arXiv 1810.05934).

    Args:
        objective: trains a trial.
        space: the ranges of the settings by name.
        out: the folder of the search. Ray keeps its state in ``ray``, the trials their epochs in ``epochs``.
        config: settings that all trials share: the metric, the seed and the number of epochs.
        max_evals: the number of trials.
        resume: whether to resume the search in ``out``.
        address: the address of a running cluster; ``None`` starts Ray on this machine.
        cpus: the CPU cores that Ray reserves for each trial.
        gpus: the GPUs that Ray reserves for each trial.

    Returns:
        ``params, best_valid_score, best_valid_result, epochs, seconds`` of every trial that was validated and did not fail.

    Raises:
        KeyboardInterrupt: the search was interrupted.
    """
    epochs_folder = out / "epochs"

    # Ray names the folders of trials after this function, and resumes a search only under the same name.
    def trial(params: dict) -> None:
        # Ray sets the variable to the GPUs of this trial; RecBole would overwrite it by its own setting.
        objective.settings["gpu_id"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        run_or_replay(objective, convert_to_plain(params), epochs_folder, _report)

    _start_ray(address)
    trainable = tune.with_resources(trial, {"cpu": cpus, "gpu": gpus})
    domains = {name: each.to_ray() for name, each in space.items()}
    state = str(out / "ray")
    if resume and tune.Tuner.can_restore(state):
        tuner = tune.Tuner.restore(state, trainable=trainable, param_space=domains)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=domains,
            tune_config=_make_tune_config(config, max_evals),
            run_config=_get_run_config_class()(name="ray", storage_path=str(out), verbose=1),
        )
    results = tuner.fit()
    if results.num_terminated + results.num_errors < max_evals:
        raise KeyboardInterrupt
    return _collect_trials(results)


def run_or_replay(objective: Callable, params: dict, folder: Path, report: Callable[[dict], None]) -> None:
    """Run a trial, or report again what an earlier run of the same settings reported.

    Ray saves its state every few seconds only, so after a kill it repeats trials that had finished in the meantime. Each trial
    therefore keeps its epochs in its own file. A trial that did not finish is trained from the start, and the epochs that
    are in its file are not reported a second time.

    Args:
        objective: trains the trial, see :class:`.Objective`.
        params: the settings of the trial.
        folder: where the files are; on a cluster, a folder that all machines share.
        report: called with the result so far after each epoch.
    """
    # The folder may be missing on another machine of the cluster.
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()
    file = folder / f"{digest[:16]}.json"
    earlier = read_json(file, "remove it to repeat the trial") if file.is_file() else {"epochs": [], "finished": False}
    for result in earlier["epochs"]:
        report(result)
    if earlier["finished"]:
        return
    epochs: list[dict] = []

    def after_epoch(result: dict) -> None:
        epochs.append(result)
        if len(epochs) > len(earlier["epochs"]):
            write_text(file, json.dumps({"epochs": epochs, "finished": False}))
            report(result)

    objective(params, after_epoch)
    write_text(file, json.dumps({"epochs": epochs, "finished": True}))


def _start_ray(address: str | None) -> None:
    # By default Ray sends usage statistics to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        ray.init(address=address, ignore_reinit_error=True)
    else:
        ray.init(address="local", include_dashboard=False, ignore_reinit_error=True)


def _make_tune_config(config: Config, max_evals: int) -> tune.TuneConfig:
    scheduler = ASHAScheduler(
        max_t=config["epochs"],
        grace_period=max(1, config["epochs"] // 30),
        reduction_factor=2,
    )
    return tune.TuneConfig(
        metric="best_valid_score",
        mode="max" if config["valid_metric_bigger"] else "min",
        num_samples=max_evals,
        scheduler=scheduler,
        search_alg=BasicVariantGenerator(random_state=config["seed"]),
    )


def _collect_trials(results) -> list[dict]:
    """Return the trials of Ray's results that were validated and did not fail, in the order of their ids."""
    validated = [
        result for result in results if result.error is None and result.metrics and "best_valid_score" in result.metrics
    ]
    validated.sort(key=lambda result: result.metrics["trial_id"])
    trials = []
    for result in validated:
        trials.append({"params": convert_to_plain(result.config)} | {key: result.metrics[key] for key in RESULT_KEYS})
    return trials


def _report(result: dict) -> None:
    # Ray 2.7 and later take the metrics as one argument.
    if "metrics" in inspect.signature(tune.report).parameters:
        tune.report(result)
    else:
        from ray.air import session

        session.report(result)


def _get_run_config_class() -> type:
    if hasattr(tune, "RunConfig"):
        return tune.RunConfig
    from ray.air import RunConfig

    return RunConfig
