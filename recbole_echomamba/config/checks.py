"""Values of settings, refused with one line before anything is read or written."""

from __future__ import annotations

import importlib.util
import re
import sys
from numbers import Real

from recbole.evaluator.register import metrics_dict

from recbole_echomamba.system.errors import UserError

WHOLE = {  # key: the least it may be
    **dict.fromkeys(("MAX_ITEM_LIST_LENGTH", "epochs", "train_batch_size", "eval_batch_size"), 1),
    **dict.fromkeys(("hidden_size", "num_layers", "d_state", "d_conv", "expand"), 1),
    **dict.fromkeys(("seed", "stopping_step", "eval_step", "worker", "metric_decimal_place"), 0),
}
NUMBERS = {"learning_rate": (0, float("inf")), "dropout_prob": (0, 1), "weight_decay": (0, float("inf"))}
"""Key: the least and what it must stay below."""

CHOICES = {
    "train_on": ("train", "all"),
    "learner": ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam"),
    "loss_type": ("CE", "BPR"),
}
PATHS = ("data_path", "checkpoint_dir", "encoding")
EVALUATION = {"split", "group_by", "order", "mode"}
INTERVAL = re.compile(r"[\[(]\s*[-+.\w]+\s*,\s*[-+.\w]+\s*[\])]")


def check_settings(settings: dict, defaults: dict) -> None:
    """Raise ValueError naming the first setting whose value cannot be, and what can.

    Args:
        settings: the merged settings. defaults: those of RecBole and ours, from which switches are known.
    """
    for key, value in settings.items():
        if isinstance(defaults.get(key), bool) and value is not None and not isinstance(value, bool):
            raise UserError(f"{key} must be true or false, it is {value!r}")
    for key, least in WHOLE.items():
        value = settings.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise UserError(f"{key} must be a whole number of at least {least}, it is {value!r}")
    for key, (least, below) in NUMBERS.items():
        value = settings.get(key)
        if value is not None and (not isinstance(value, Real) or isinstance(value, bool) or not least <= value < below):
            raise UserError(f"{key} must be a number of at least {least} and below {below}, it is {value!r}")
    for key, choices in CHOICES.items():
        value = settings.get(key)
        if value is not None and value not in choices:
            raise UserError(f"{key} is {value!r}; choose {', '.join(choices[:-1])} or {choices[-1]}")
    for key in PATHS:
        if settings.get(key) is not None and not isinstance(settings[key], str):
            raise UserError(f"{key} must be text, it is {settings[key]!r}")
    if settings.get("log_wandb") and "wandb" not in sys.modules and importlib.util.find_spec("wandb") is None:
        raise UserError("log_wandb needs Weights & Biases: pip install wandb")
    if settings.get("clip_grad_norm") is not None and not isinstance(settings["clip_grad_norm"], dict):
        raise UserError(f"clip_grad_norm is {settings['clip_grad_norm']!r}; write {{'max_norm': 5}}")
    _check_intervals(settings)
    _check_metrics(settings)
    _check_evaluation(settings["eval_args"])
    _check_columns(settings)


def _check_intervals(settings: dict) -> None:
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        value = settings.get(key)
        if value is None:
            continue
        try:
            parts = [part.strip() for part in str(value).split(";")]
            ends = [part[1:-1].split(",") for part in parts]
            good = all(INTERVAL.fullmatch(part) for part in parts) and all(float(a) <= float(b) for a, b in ends)
        except ValueError:
            good = False
        if not good:
            raise UserError(f'{key} is {value!r}; write an interval such as "[5,inf)", or several separated by ;')


def _check_metrics(settings: dict) -> None:
    metrics, topk = as_list(settings["metrics"]), as_list(settings["topk"])
    unknown = [name for name in metrics if str(name).lower() not in metrics_dict]
    if unknown:
        raise UserError(f"metrics has {unknown[0]!r}; known: {', '.join(sorted(metrics_dict))}; write [NDCG, Hit]")
    if not topk or any(not isinstance(k, int) or isinstance(k, bool) or k < 1 for k in topk):
        raise UserError(f"topk must be whole numbers of at least 1, it is {settings['topk']!r}")
    metric, at, k = str(settings["valid_metric"]).partition("@")
    if at and (not k.isdigit() or int(k) not in topk):
        raise UserError(f"valid_metric is {settings['valid_metric']} but topk is {topk}; add {k} to topk")
    if metric.lower() not in [str(name).lower() for name in metrics]:
        raise UserError(f"valid_metric is {settings['valid_metric']} but metrics is {metrics}; add {metric}")


def _check_evaluation(arguments) -> None:
    if not isinstance(arguments, dict) or not set(arguments) <= EVALUATION:
        raise UserError(f"eval_args is {arguments!r}; it holds {', '.join(sorted(EVALUATION))}")
    if arguments["order"] != "TO":
        raise UserError(f"eval_args has order {arguments['order']!r}; a sequential model needs order: TO, by time")
    mode = arguments["mode"]
    for value in mode.values() if isinstance(mode, dict) else [mode]:
        if not re.fullmatch(r"full|(uni|pop)[1-9][0-9]*", str(value)):
            raise UserError(f"eval_args has mode {value!r}; choose full, uniN or popN, such as uni100")
    split = arguments["split"]
    if not isinstance(split, dict) or len(split) != 1:
        raise UserError(f"eval_args has split {split!r}; write {{'LS': 'valid_and_test'}} or {{'RS': [0.8, 0.1, 0.1]}}")
    ((kind, value),) = split.items()
    if kind == "LS" and value in ("valid_and_test", "valid_only", "test_only"):
        return
    if kind in ("RS", "TS") and isinstance(value, list) and len(value) == 3:
        return
    raise UserError(
        f"eval_args has split {split!r}; LS takes valid_and_test, valid_only or test_only, RS and TS take three ratios"
    )


def _check_columns(settings: dict) -> None:
    load_col = settings["load_col"]
    if load_col is None or settings["benchmark_filename"]:
        return
    if not isinstance(load_col, dict) or "inter" not in load_col:
        raise UserError(f"load_col is {load_col!r}; write {{'inter': [user_id, item_id, timestamp]}}")
    columns = load_col["inter"]
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD"):
        if columns != "*" and settings[key] not in as_list(columns):
            raise UserError(f"load_col has inter: {columns}, without {settings[key]}, which {key} names; add it")


def as_list(value) -> list:
    """A value that may stand alone, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]
