"""The hash of a configuration: two runs have the same one if the same settings decide their results."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from recbole_echomamba.config.settings_files import PROCESS_KEYS

NOT_IN_HASH = {
    *PROCESS_KEYS,
    # named in a result by themselves
    "seed",
    "variant",
    # device and speed
    "gpu_id",
    "use_gpu",
    "worker",
    "keep_freed_memory",
    "data_cache",
    # what is logged
    "state",
    "show_progress",
    "log_wandb",
    "wandb_project",
    "log_mlflow",
    # where files are
    "data_path",
    "checkpoint_dir",
    "save_dataset",
    "dataset_save_path",
    "save_dataloaders",
    "dataloaders_save_path",
}
"""Settings that are left out of the hash of a configuration, because they do not change what is computed."""

ADDED_LATER = {
    "train_positions": "last",
    "time_gaps": False,
    "causal": False,
    "pairs_per_block": None,
    "lr_schedule": "constant",
    "lr_warmup": 0,
    "init_from": None,
    "dropout_residual": True,
}
"""Settings that the first runs did not have, and the value that does what those runs did; it is left out of the hash."""


OF_SAMPLED_LOSS = {"train_negatives", "negative_distribution"}
"""Settings that are read with ``loss_type: SampledCE`` only, and left out of the hash otherwise."""


def hashed_settings(settings: dict) -> dict:
    """Return the settings that decide the result of a run.

    Those of :data:`NOT_IN_HASH` and :data:`OF_SAMPLED_LOSS`, and the values of :data:`ADDED_LATER`, are left out.
    """
    left_out = NOT_IN_HASH if settings.get("loss_type") == "SampledCE" else NOT_IN_HASH | OF_SAMPLED_LOSS
    return {
        key: value
        for key, value in settings.items()
        if key not in left_out and not (key in ADDED_LATER and value == ADDED_LATER[key])
    }


def settings_hash(
    model: str, dataset: str, settings: dict[str, Any], processes: int | None = None, source: str | None = None
) -> str:
    """Return ten hex digits over all that decides the result of a run, besides the seed and the data.

    Args:
        model: the name of the model.
        dataset: the name of the dataset.
        settings: all settings; those of :data:`NOT_IN_HASH` are left out.
        processes: the number of processes, if there are several.
        source: the hash of a custom model's source file: a run of the class as it was before is not one of the class as it is.
    """
    decisive = hashed_settings(settings)
    if processes is not None:
        decisive["processes"] = processes
    identity = [model, dataset, decisive]
    if source is not None:
        identity.append(source)
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
