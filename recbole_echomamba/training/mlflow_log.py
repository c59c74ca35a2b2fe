"""Log a finished run to MLflow."""

from __future__ import annotations

import logging

FACTS = ("model", "dataset", "variant", "seed", "config_hash", "data_hash", "run_directory")
"""Entries of a result that become tags of MLflow's run, to find it by."""


def log_to_mlflow(result: dict) -> None:
    """Log settings, losses, validation metrics of each epoch and test metrics as one run of MLflow.

    MLflow's own variables, such as ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME``, say where. The run is complete by
    then, so a store that cannot be reached costs it nothing but a warning.

    Args:
        result: the contents of ``result.json``.
    """
    import mlflow

    try:
        name = f"{result['model']} on {result['dataset']}, seed {result['seed']}"
        # within the caller's own run, if there is one
        with mlflow.start_run(run_name=name, nested=mlflow.active_run() is not None):
            mlflow.set_tags({name: str(result[name]) for name in FACTS})
            mlflow.log_params(result["config"])
            for entry in result["history"]:
                mlflow.log_metric("train_loss", float(entry["train_loss"]), step=entry["epoch"])
                mlflow.log_metrics(_name_metrics("valid", entry.get("valid_result") or {}), step=entry["epoch"])
            for end in ("", "_unseen"):
                mlflow.log_metrics(_name_metrics(f"test{end}", result[f"test_result{end}"]))
    except Exception as error:
        # MLflow raises errors of its own and those of the store behind it
        logging.getLogger().warning("the run is complete, but it could not be logged to MLflow: %s", error)


def _name_metrics(part: str, metrics: dict[str, float]) -> dict[str, float]:
    """Return metrics under names that MLflow allows."""
    return {f"{part}/{name.replace('@', '_at_')}": float(value) for name, value in metrics.items()}
