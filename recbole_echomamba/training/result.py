"""The result of a run: ``result.json`` and the rank of every test target."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from recbole.data.dataset import SequentialDataset

from recbole_echomamba.system.files import write_text
from recbole_echomamba.system.hardware import describe_machine, list_versions, measure_peak_memory
from recbole_echomamba.system.manifest import recorded_digest, write_recorded, write_recorded_text
from recbole_echomamba.system.ranks import is_distributed
from recbole_echomamba.training.run_directory import RANKS_FILE, RESULT_FILE, WEIGHTS_FILE
from recbole_echomamba.training.trainer import Trainer


def describe_result(trainer: Trainer, test_result: dict) -> dict:
    """Return the contents of ``result.json``; ``test_result`` is empty where nothing was tested."""
    config = trainer.config
    valid_result = trainer.best_valid_result or {}
    parameters = (parameter for parameter in trainer.model.parameters() if parameter.requires_grad)
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "variant": config["variant"],
        "seed": config["seed"],
        "processes": config["world_size"] if is_distributed(config) else 1,
        "config": config.settings,
        "config_hash": config.hash,
        "data_hash": trainer.data_hash,
        "best_valid_score": float(trainer.best_valid_score) if valid_result else None,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": {name: float(value) for name, value in valid_result.items()},
        "test_result": {name: float(value) for name, value in test_result.items()},
        "best_valid_result_unseen": trainer.best_valid_result_unseen,
        "test_result_unseen": trainer.result_unseen if test_result else {},
        "tied_targets": trainer.eval_collector.tied if test_result else 0,
        "best_epoch": trainer.best_epoch,
        "epochs": len(trainer.history),
        "seconds_per_epoch": float(np.mean([entry["seconds"] for entry in trainer.history])),
        "users_per_second": trainer.users_per_second,
        "peak_memory": measure_peak_memory(config["device"]),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "history": trainer.history,
        "machine": describe_machine(config["device"]),
        "versions": list_versions(),
        "run_directory": str(trainer.run_directory) if trainer.run_directory else None,
    }


def write_result(result: dict, trainer: Trainer, dataset: SequentialDataset, saved: bool, result_file) -> None:
    """Write the ranks of the test targets, then ``result.json``, which marks the run as finished.

    The digest of the weights says on which the result was measured: training may go on with more epochs.

    Args:
        result: see :func:`describe_result`.
        trainer: has tested the model.
        dataset: has the ids of users and items.
        saved: whether to write to the run directory.
        result_file: where to write the result, besides the run directory; ``None`` for nowhere else.
    """
    if saved:
        result["weights_digest"] = recorded_digest(trainer.run_directory / WEIGHTS_FILE)
    text = json.dumps(result, indent=2, default=str) + "\n"
    if saved:
        ranks = trainer.eval_collector.ranks()
        if len(ranks["rank"]):
            _write_ranks(trainer.run_directory / RANKS_FILE, ranks, dataset)
        write_recorded_text(trainer.run_directory / RESULT_FILE, text)
    if result_file:
        write_text(result_file, text)


def _write_ranks(file: Path, ranks: dict[str, np.ndarray], dataset: SequentialDataset) -> None:
    """Write the rank of every test target as Parquet, with the dataset's own user and item ids."""
    import pyarrow
    import pyarrow.parquet

    columns = {
        "user": dataset.id2token(dataset.uid_field, ranks["user"]).astype(str),
        "item": dataset.id2token(dataset.iid_field, ranks["item"]).astype(str),
        "rank": ranks["rank"],
        "rank_unseen": ranks["rank_unseen"],
        "history": ranks["history"],
    }
    if not len(ranks["rank_unseen"]):
        del columns["rank_unseen"]
    table = pyarrow.table(columns)
    write_recorded(file, lambda temporary: pyarrow.parquet.write_table(table, temporary))
