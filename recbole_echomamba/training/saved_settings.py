"""The settings of a saved run, with the changes that loading, resuming and continuing it allow."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

from recbole_echomamba.config.config import Config
from recbole_echomamba.config.model_names import is_registered
from recbole_echomamba.config.settings_hash import NOT_IN_HASH
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.training.run_directory import find_model, read_settings

CHANGEABLE_ON_RESUME = {"epochs", "stopping_step"}
"""The settings in the hash that may change when a run is resumed: they only decide how long it trains."""

CHANGEABLE_AFTER_TRAINING = NOT_IN_HASH | {
    "user_inter_num_interval",
    "item_inter_num_interval",
    "val_interval",
    "exact_time_order",
    "encoding",
    "eval_args",
    "eval_batch_size",
    "metrics",
    "topk",
    "valid_metric",
    "metric_decimal_place",
    "train_batch_size",
}
"""The settings that may change when a trained run is loaded: the data it is shown and how it is scored, not the model."""


def load_config(directory, model, config_dict: dict | None) -> Config:
    """Return the settings of a saved run, with those changed that may change after training."""
    settings = read_settings(directory)
    name, dataset_name = settings.pop("model"), settings.pop("dataset")
    config_dict = config_dict or {}
    fixed = sorted(set(config_dict) - CHANGEABLE_AFTER_TRAINING)
    if fixed:
        raise UserError(f"{directory} is a trained run: {', '.join(fixed)} cannot change any more; train a new run")
    return Config(find_model(directory, name, model), dataset_name, config_dict={**settings, **config_dict})


def settings_to_continue(directory, model, dataset, config_dict):
    """Return model, dataset and settings of a run that continues another one."""
    settings = read_settings(directory)
    own_model, own_dataset = settings.pop("model"), settings.pop("dataset")
    if dataset is not None and dataset != own_dataset:
        raise UserError(
            f"{directory} is a run on {own_dataset}; it continues on {own_dataset} as it has grown, not on {dataset}"
        )
    begin = {"init_from": str(Path(directory).resolve())}
    return find_model(directory, own_model, model), own_dataset, {**settings, **begin, **config_dict}


def settings_to_resume(directory, model, dataset, config_file_list, config_dict):
    """Return model, dataset and settings of a run to resume, with the changes that are allowed.

    Raises:
        UserError: another model, dataset or setting is asked for.
    """
    settings = read_settings(directory)
    own_model, own_dataset = settings.pop("model"), settings.pop("dataset")
    # The seed is not in the hash, but it does decide the result
    changeable = (CHANGEABLE_ON_RESUME | NOT_IN_HASH) - {"seed"}
    fixed = [key for key in config_dict if key not in changeable]
    if config_file_list:
        fixed.append("config_files")
    scheduled = settings.get("lr_schedule", "constant") != "constant" or settings.get("lr_warmup")
    if scheduled and str(config_dict.get("epochs", settings["epochs"])) != str(settings["epochs"]):
        raise UserError(
            f"{directory} has a learning rate that follows a schedule over its {settings['epochs']} epochs, so "
            "their number cannot change; start a new run with more epochs"
        )
    if fixed:
        allowed = " and ".join(sorted(CHANGEABLE_ON_RESUME))
        raise UserError(f"{directory} is resumed with its own settings: {allowed} can change, {fixed[0]} cannot")
    if dataset is not None and dataset != own_dataset:
        raise UserError(f"{directory} is a run on {own_dataset}, not on {dataset}")
    found = find_model(directory, own_model, model)
    if not is_registered(found) and Config(found, own_dataset, config_dict=settings).hash not in Path(directory).name:
        getLogger().warning(
            "the source of %s has changed since %s was trained, or its folder was renamed", own_model, directory
        )
    return found, own_dataset, {**settings, **config_dict}
