"""Check the values of settings before anything is read or written."""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

from recbole.evaluator.register import metric_types, metrics_dict
from recbole.utils import EvaluatorType

from recbole_echomamba.config.model_names import FULL_RANKING_ONLY
from recbole_echomamba.config.values import TRANSFORM_SETTINGS, check_values, is_whole_number
from recbole_echomamba.system.errors import UserError

CLIP_KEYS = {"max_norm", "norm_type", "error_if_nonfinite", "foreach"}
EVAL_ARGS_KEYS = {"split", "group_by", "order", "mode"}
LEAVE_ONE_OUT_MODES = ("valid_and_test", "valid_only", "test_only")
KNOWLEDGE_GRAPH_MODELS = ("GRU4RecKG", "KSR")
WITHOUT_EFFECT = {
    **dict.fromkeys(("dataset_save_path", "dataloaders_save_path"), "data_cache keeps prepared data instead"),
    "loss_decimal_place": "losses are shown with four decimals and kept with all of them",
    **dict.fromkeys(("require_pow", "RATING_FIELD", "POSITION_FIELD"), "no sequential model reads it"),
}
"""Settings of RecBole that nothing reads here, and why."""

FOR_KNOWLEDGE_GRAPHS = (
    "HEAD_ENTITY_ID_FIELD",
    "TAIL_ENTITY_ID_FIELD",
    "RELATION_ID_FIELD",
    "ENTITY_ID_FIELD",
    "alias_of_entity_id",
    "alias_of_relation_id",
    "kg_reverse_r",
    "entity_kg_num_interval",
    "relation_kg_num_interval",
)
"""Settings that only :data:`KNOWLEDGE_GRAPH_MODELS` read."""

NEGATIVE_KEYS = {"distribution", "sample_num", "alpha", "dynamic", "candidate_num"}
FILTERS = ("user_inter_num_interval", "item_inter_num_interval", "val_interval", "rm_dup_inter")


def check_settings(settings: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Check the values of all settings.

    Args:
        settings: the merged settings.
        defaults: RecBole's and ours; a setting whose default is true or false must be one of both.

    Raises:
        UserError: the first setting that cannot be used, with the values that can.
    """
    check_values(settings, defaults)
    _check_extras(settings)
    _check_metrics(settings)
    _check_eval_args(settings["eval_args"])
    _check_value_metrics(settings)
    _check_negatives(settings)
    _check_transform(settings)
    _check_split_files(settings)
    _check_columns(settings)


def check_model_settings(model: str, settings: dict[str, Any]) -> None:
    """Check settings that only some of RecBole's models cannot work with.

    Raises:
        UserError: the model cannot be trained or scored with a setting.
    """
    if model == "GCSAN" and not (isinstance(settings["weight"], int | float) and 0 <= settings["weight"] <= 1):
        raise UserError(f"weight must be a number between 0 and 1, it is {settings['weight']!r}")
    for setting, value in (("loss_type", "SampledCE"), ("learner", "lazy_adam")):
        if settings.get(setting) == value and "train_negatives" not in settings:
            raise UserError(
                f"{setting}: {value} is for EchoMamba4Rec, Mamba4Rec and models derived from them, not {model}"
            )
    if settings["learner"] == "lazy_adam":
        for setting in ("weight_decay", "clip_grad_norm"):
            if settings.get(setting):
                raise UserError(
                    f"learner: lazy_adam updates single rows, and {setting} needs all of them; leave {setting} out, or set "
                    "learner: adam"
                )
    if model == "BERT4Rec" and settings["transform"] != "mask_itemseq":
        raise UserError("BERT4Rec reads masked histories; leave transform out, or set transform: mask_itemseq")
    if model not in FULL_RANKING_ONLY:
        return
    if settings.get("loss_type") != "CE":
        raise UserError(f"{model} is trained with cross-entropy only; set loss_type: CE")
    if set(settings["eval_args"]["mode"].values()) != {"full"}:
        raise UserError(f"{model} scores all items at once, not sampled ones; set eval_args mode: full")
    rerankers = len(str(settings["reranker_CAN_NUM"]).split(","))
    heads = settings["n_facet"] + settings["n_facet_context"] + settings["n_facet_emb"]
    heads += settings["n_facet_reranker"] * rerankers
    if settings["n_facet_all"] != heads:
        raise UserError(
            f"{model} needs n_facet_all = n_facet + n_facet_context + n_facet_emb + n_facet_reranker for each size in "
            f"reranker_CAN_NUM: set n_facet_all: {heads}"
        )


def has_value_metrics(metrics: Any) -> bool:
    """Return whether metrics, such as AUC, are computed from single scores and labels instead of a ranking."""
    return any(metric_types.get(str(name).lower()) == EvaluatorType.VALUE for name in as_list(metrics))


def as_list(value: Any) -> list:
    """Return a list as it is, and any other value as a list that holds only it."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _check_extras(settings: dict[str, Any]) -> None:
    if settings.get("log_wandb") and "wandb" not in sys.modules and importlib.util.find_spec("wandb") is None:
        raise UserError("log_wandb needs Weights & Biases: pip install wandb")
    if settings.get("log_mlflow") and "mlflow" not in sys.modules and importlib.util.find_spec("mlflow") is None:
        raise UserError("log_mlflow needs MLflow: pip install 'recbole_echomamba[mlflow]'")
    if not settings["repeatable"]:
        raise UserError("repeatable must be true: a sequential model may recommend an item again")
    clip = settings.get("clip_grad_norm")
    if clip is not None and (not isinstance(clip, dict) or "max_norm" not in clip or not set(clip) <= CLIP_KEYS):
        raise UserError(f"clip_grad_norm is {clip!r}; write {{'max_norm': 5}}")


def _check_metrics(settings: dict[str, Any]) -> None:
    metrics, topk = as_list(settings["metrics"]), as_list(settings["topk"])
    unknown = [name for name in metrics if str(name).lower() not in metrics_dict]
    if unknown:
        raise UserError(f"metrics has {unknown[0]!r}; known: {', '.join(sorted(metrics_dict))}; write [NDCG, Hit]")
    if not topk or any(not is_whole_number(k) or k < 1 for k in topk):
        raise UserError(f"topk must be whole numbers of at least 1, it is {settings['topk']!r}")
    metric, at, k = str(settings["valid_metric"]).partition("@")
    if at and (not k.isdigit() or int(k) not in topk):
        raise UserError(f"valid_metric is {settings['valid_metric']} but topk is {topk}; add {k} to topk")
    if metric.lower() not in [str(name).lower() for name in metrics]:
        raise UserError(f"valid_metric is {settings['valid_metric']} but metrics is {metrics}; add {metric}")


def _check_value_metrics(settings: dict[str, Any]) -> None:
    metrics = as_list(settings["metrics"])
    value_metrics = [name for name in metrics if has_value_metrics(name)]
    if not value_metrics:
        return
    if len(value_metrics) < len(metrics):
        ranking = [name for name in metrics if name not in value_metrics]
        raise UserError(
            f"metrics has {', '.join(value_metrics)}, from single scores, and {', '.join(ranking)}, from a ranking; "
            "a run can have one kind only"
        )
    if "full" in settings["eval_args"]["mode"].values():
        raise UserError(
            f"metrics has {', '.join(value_metrics)}, which need sampled negatives; set eval_args: {{'mode': 'uni100'}}"
        )


def _check_negatives(settings: dict[str, Any]) -> None:
    negatives = settings.get("train_neg_sample_args")
    if negatives in (None, "None"):
        return
    if not isinstance(negatives, dict) or not set(negatives) <= NEGATIVE_KEYS:
        raise UserError(
            f"train_neg_sample_args is {negatives!r}; it holds {', '.join(sorted(NEGATIVE_KEYS))}, or is None"
        )
    if negatives.get("distribution", "uniform") not in (None, "None", "none", "uniform", "popularity"):
        raise UserError(
            f"train_neg_sample_args has distribution {negatives['distribution']!r}; choose uniform or popularity"
        )
    if negatives.get("dynamic") and not negatives.get("candidate_num"):
        raise UserError("train_neg_sample_args has dynamic: True; it needs a candidate_num of at least 1")
    sample_num = negatives.get("sample_num", 1)
    if sample_num != "none" and (not is_whole_number(sample_num) or sample_num < 1):
        raise UserError(f"train_neg_sample_args has sample_num {sample_num!r}; write a whole number of at least 1")


def _check_transform(settings: dict[str, Any]) -> None:
    name = settings.get("transform")
    if name is None:
        return
    if not isinstance(name, str) or name not in TRANSFORM_SETTINGS:
        # RecBole's user_defined is a placeholder that returns no batch
        raise UserError(f"transform is {name!r}; choose {', '.join(TRANSFORM_SETTINGS)} or None")
    keys = TRANSFORM_SETTINGS[name]
    for key in keys:
        value = settings.get(key)
        if value is None and key == keys[0]:
            raise UserError(f"transform: {name} needs {key}, a share between 0 and 1; set {key}")
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1):
            raise UserError(f"{key} must be a number between 0 and 1, it is {value!r}")


def _check_split_files(settings: dict[str, Any]) -> None:
    parts = settings["benchmark_filename"]
    if not parts:
        return
    if not isinstance(parts, list) or len(parts) not in (2, 3) or not all(isinstance(part, str) for part in parts):
        raise UserError(
            f"benchmark_filename is {parts!r}; list the parts for training, validation and test, such as "
            "['train','valid','test'], or leave out validation: ['train','test']"
        )


def _check_eval_args(arguments: Any) -> None:
    if not isinstance(arguments, dict) or not set(arguments) <= EVAL_ARGS_KEYS:
        raise UserError(f"eval_args is {arguments!r}; it holds {', '.join(sorted(EVAL_ARGS_KEYS))}")
    if arguments["order"] != "TO":
        raise UserError(f"eval_args has order {arguments['order']!r}; a sequential model needs order: TO, by time")
    if str(arguments["group_by"]).lower() not in ("user", "none"):
        raise UserError(f"eval_args has group_by {arguments['group_by']!r}; choose user or none")
    mode = arguments["mode"]
    if isinstance(mode, dict) and not set(mode) <= {"valid", "test"}:
        raise UserError(f"eval_args has mode {mode!r}; it holds valid and test")
    for value in mode.values() if isinstance(mode, dict) else [mode]:
        if not re.fullmatch(r"full|(uni|pop)[1-9][0-9]*", str(value)):
            raise UserError(f"eval_args has mode {value!r}; choose full, uniN or popN, such as uni100")
    split = arguments["split"]
    if not isinstance(split, dict) or len(split) != 1:
        raise UserError(f"eval_args has split {split!r}; write {{'LS': 'valid_and_test'}} or {{'RS': [0.8, 0.1, 0.1]}}")
    if not _is_split(*next(iter(split.items()))):
        raise UserError(
            f"eval_args has split {split!r}; LS takes valid_and_test, valid_only or test_only, RS and TS take three ratios"
        )


def _is_split(kind: Any, value: Any) -> bool:
    if kind == "LS":
        return value in LEAVE_ONE_OUT_MODES
    return kind in ("RS", "TS") and isinstance(value, list) and len(value) == 3


def _check_columns(settings: dict[str, Any]) -> None:
    load_col = settings["load_col"]
    split_files = settings["benchmark_filename"]
    if load_col is not None and (not isinstance(load_col, dict) or ("inter" not in load_col and not split_files)):
        raise UserError(f"load_col is {load_col!r}; write {{'inter': [user_id, item_id, timestamp]}}")
    keys = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")
    for setting, needed in (("unload_col", keys), ("unused_col", keys[:2]), ("threshold", keys)):
        value = settings.get(setting)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise UserError(f"{setting} must be a mapping, it is {value!r}")
        # threshold maps columns to numbers, the others map files to columns
        names = [*value] if setting == "threshold" else as_list(value.get("inter", []))
        for key in needed:
            if settings[key] in names:
                raise UserError(f"{setting} would remove {settings[key]}, which {key} names and every model needs")
    if load_col is not None and (both := set(load_col) & set(settings.get("unload_col") or {})):
        raise UserError(
            f"load_col and unload_col both name {sorted(both)[0]}; set load_col: None, or leave unload_col out"
        )
    if load_col is None or split_files:
        return
    columns = load_col["inter"]
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD"):
        if columns != "*" and settings[key] not in as_list(columns):
            raise UserError(f"load_col has inter: {columns}, without {settings[key]}, which {key} names; add it")
    for ending, key in (("user", "USER_ID_FIELD"), ("item", "ITEM_ID_FIELD")):
        columns = load_col.get(ending) or "*"
        if columns != "*" and settings[key] not in as_list(columns):
            raise UserError(f"load_col has {ending}: {columns}, without {settings[key]}, which {key} names; add it")
