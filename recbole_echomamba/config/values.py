"""Check single values of settings, without importing RecBole or torch."""

from __future__ import annotations

import re
from numbers import Real
from typing import Any

from dataset_prep.atomic_file import is_plain_name
from recbole_echomamba.system.errors import UserError

LEAST_WHOLE_NUMBER = {
    "MAX_ITEM_LIST_LENGTH": 1,
    "epochs": 1,
    "train_batch_size": 1,
    "eval_batch_size": 1,
    "hidden_size": 1,
    "num_layers": 1,
    "d_state": 1,
    "d_conv": 1,
    "expand": 1,
    "pairs_per_block": 1,
    "train_negatives": 1,
    "seed": 0,
    "stopping_step": 0,
    "eval_step": 0,
    "worker": 0,
    "metric_decimal_place": 0,
}
"""Settings that are whole numbers, and the least that each may be."""

LARGEST_SEED = 2**31 - 1
"""NumPy takes seeds of 32 bits, and each process of a run adds its rank."""

NUMBER_RANGES = {
    "learning_rate": (0, float("inf")),
    "dropout_prob": (0, 1),
    "lr_warmup": (0, 1),
    "weight_decay": (0, float("inf")),
}
"""Settings that are numbers: the least that each may be, and what it must stay below."""

CHOICES = {
    "train_on": ("train", "all"),
    "train_positions": ("last", "all"),
    "lr_schedule": ("constant", "cosine"),
    "learner": ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam", "lazy_adam"),
    "loss_type": ("CE", "SampledCE", "BPR"),
    "negative_distribution": ("uniform", "popularity"),
    "rm_dup_inter": ("first", "last"),
}
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
PATHS = ("data_path", "checkpoint_dir")
TEXT_SETTINGS = ("data_path", "checkpoint_dir", "encoding", "init_from")
"""Settings that are text which files can hold: without NUL, and UTF-8."""

EMPTY_SWITCHES = ("normalize_all",)
"""Switches that RecBole's own files leave empty."""

TRANSFORM_SETTINGS = {
    "mask_itemseq": ("mask_ratio", "ft_ratio"),
    "inverse_itemseq": (),
    "crop_itemseq": ("eta",),
    "reorder_itemseq": ("beta",),
}
"""RecBole's transforms of batches, with the settings of each; the first one must be given."""

INTERVAL = re.compile(r"[\[(]\s*[-+.\w]+\s*,\s*[-+.\w]+\s*[\])]")


def check_values(settings: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Check each setting by itself.

    Args:
        settings: any settings.
        defaults: RecBole's and ours; a setting whose default is true or false must be one of both.

    Raises:
        UserError: the first setting that cannot be used, with the values that can.
    """
    _check_switches(settings, defaults)
    _check_numbers(settings)
    _check_choices_and_texts(settings)
    _check_intervals(settings)
    _check_value_intervals(settings)


def check_name(setting: str, name: Any) -> None:
    """Check a name that becomes part of a path and of a report.

    Args:
        setting: the setting that holds it, for the message.
        name: the name of a dataset, or of a part of it.

    Raises:
        UserError: it would leave its folder, or cannot be the name of a file, or is not one line of text.
    """
    if not is_plain_name(str(name)):
        raise UserError(
            f"{setting} {str(name)!r} is not a short, plain name; it may not begin with . or hold /, \\, tabs or line ends"
        )


def is_whole_number(value: Any) -> bool:
    """Return whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _check_switches(settings: dict[str, Any], defaults: dict[str, Any]) -> None:
    for key, value in settings.items():
        if key in EMPTY_SWITCHES and value is None:
            continue
        if isinstance(defaults.get(key), bool) and not isinstance(value, bool):
            raise UserError(f"{key} must be true or false, it is {value!r}")


def _check_numbers(settings: dict[str, Any]) -> None:
    for key, least in LEAST_WHOLE_NUMBER.items():
        value = settings.get(key)
        if value is not None and (not is_whole_number(value) or value < least):
            raise UserError(f"{key} must be a whole number of at least {least}, it is {value!r}")
    if (settings.get("seed") or 0) > LARGEST_SEED:
        raise UserError(f"seed must be at most {LARGEST_SEED}, it is {settings['seed']}")
    for key, (least, below) in NUMBER_RANGES.items():
        value = settings.get(key)
        if value is None:
            continue
        if not isinstance(value, Real) or isinstance(value, bool) or not least <= value < below:
            raise UserError(f"{key} must be a number of at least {least} and below {below}, it is {value!r}")


def _check_choices_and_texts(settings: dict[str, Any]) -> None:
    for key, choices in CHOICES.items():
        value = settings.get(key)
        if value is not None and value not in choices:
            raise UserError(f"{key} is {value!r}; choose {', '.join(choices[:-1])} or {choices[-1]}")
    if str(settings.get("state", "info")).lower() not in LOG_LEVELS:
        raise UserError(f"state is {settings.get('state')!r}; choose {', '.join(LOG_LEVELS)}")
    for key in PATHS:
        if key in settings and not settings[key]:
            raise UserError(f"{key} is {settings[key]!r}; name a folder")
    for key in TEXT_SETTINGS:
        value = settings.get(key)
        if value is not None and (not isinstance(value, str) or re.search("[\0\ud800-\udfff]", value)):
            raise UserError(f"{key} must be text without NUL and in UTF-8, it is {value!r}")


def _check_intervals(settings: dict[str, Any]) -> None:
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        value = settings.get(key)
        if value is not None and not all(_is_interval(part.strip()) for part in str(value).split(";")):
            raise UserError(f'{key} is {value!r}; write an interval such as "[5,inf)", or several separated by ;')


def _check_value_intervals(settings: dict[str, Any]) -> None:
    intervals = settings.get("val_interval")
    if intervals is None:
        return
    if not isinstance(intervals, dict):
        raise UserError(f"val_interval is {intervals!r}; write {{'rating': '[3,inf)'}}")
    for field, value in intervals.items():
        # a token column has a list of values instead
        if isinstance(value, str) and not all(_is_interval(part.strip()) for part in value.split(";")):
            raise UserError(f'val_interval has {value!r} for {field}; write an interval such as "[3,inf)"')


def _is_interval(text: str) -> bool:
    if not INTERVAL.fullmatch(text):
        return False
    low, high = text[1:-1].split(",")
    try:
        return float(low) <= float(high)
    except ValueError:
        return False
