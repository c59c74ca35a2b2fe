"""The names of all settings, from the text of RecBole's files and ours; without importing RecBole or torch."""

from __future__ import annotations

import functools
import runpy
from collections.abc import Iterable

import yaml

from recbole_echomamba.config.settings_files import (
    PROCESS_KEYS,
    RECBOLE,
    RECBOLE_PROPERTIES,
    UNLISTED_RECBOLE_KEYS,
    properties_directory,
    read_settings_file,
)
from recbole_echomamba.config.values import TRANSFORM_SETTINGS
from recbole_echomamba.system.errors import UserError, suggest

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The fastest loader of YAML; it reads names, truth values and text as RecBole's does."""


OTHER_NAMES = {
    # of earlier versions of RecBole
    "eval_setting": "eval_args",
    "group_by_user": "eval_args",
    "split_ratio": "eval_args",
    "leave_one_num": "eval_args",
    "neg_sampling": "train_neg_sample_args",
    "training_neg_sample_num": "train_neg_sample_args",
    "min_user_inter_num": "user_inter_num_interval",
    "max_user_inter_num": "user_inter_num_interval",
    "min_item_inter_num": "item_inter_num_interval",
    "max_item_inter_num": "item_inter_num_interval",
    "lowest_val": "val_interval",
    "highest_val": "val_interval",
    # of other libraries
    "lr": "learning_rate",
    "batch_size": "train_batch_size",
    "max_len": "MAX_ITEM_LIST_LENGTH",
    "maxlen": "MAX_ITEM_LIST_LENGTH",
    "max_seq_length": "MAX_ITEM_LIST_LENGTH",
    "patience": "stopping_step",
    "device": "use_gpu",
    "num_epochs": "epochs",
}
"""What settings are called elsewhere, and their names here."""


@functools.cache
def list_recbole_settings() -> frozenset[str]:
    """Return the settings that RecBole lists in its code."""
    lists = runpy.run_path(str(RECBOLE / "utils" / "argument_list.py"))
    return frozenset(key for name, keys in lists.items() if name.endswith("_arguments") for key in keys)


@functools.cache
def list_settings_of_models() -> frozenset[str]:
    """Return the settings of all models, RecBole's and ours."""
    files = [file for folder in (RECBOLE_PROPERTIES, properties_directory()) for file in folder.glob("model/*.yaml")]
    return frozenset(key for file in files for key in read_settings_file(file, str(file), loader=LOADER))


def list_known_settings(defaults: Iterable[str]) -> set[str]:
    """Return the settings of one model: those with a default, and those that RecBole's code reads without one."""
    general = {*list_recbole_settings(), *PROCESS_KEYS, *UNLISTED_RECBOLE_KEYS}
    return {*defaults, *general, "model", "dataset", "config_files"}


def refuse_unknown(key: str, known: set[str]) -> None:
    """Raise the UserError for a setting that is none of the known ones."""
    for transform, keys in TRANSFORM_SETTINGS.items():
        if key in keys:
            raise UserError(f"{key} is read by transform: {transform} only; set that too, or leave {key} out")
    if OTHER_NAMES.get(key.lower()) in known:
        raise UserError(f"there is no setting {key!r}; it is called {OTHER_NAMES[key.lower()]} here")
    raise UserError(f"there is no setting {key!r}; {suggest(key, sorted(known))}")
