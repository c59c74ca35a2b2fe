"""RecBole's configuration with our defaults, which reads nothing from ``sys.argv`` and evaluates no text as code."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config as RecBoleConfig
from recbole.evaluator.register import smaller_metrics
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_echomamba.config.checks import (
    FILTERS,
    FOR_KNOWLEDGE_GRAPHS,
    KNOWLEDGE_GRAPH_MODELS,
    WITHOUT_EFFECT,
    check_model_settings,
    check_settings,
    has_value_metrics,
)
from recbole_echomamba.config.model_names import find_reference, get_model, hash_source, is_registered
from recbole_echomamba.config.setting_names import list_known_settings, list_settings_of_models, refuse_unknown
from recbole_echomamba.config.settings_files import (
    PROCESS_KEYS,
    RECBOLE_PROPERTIES,
    complete_names,
    find_config_file,
    parse_value,
    properties_directory,
    read_config_files,
    read_settings_file,
    variants_directory,
)
from recbole_echomamba.config.settings_hash import settings_hash
from recbole_echomamba.config.values import TRANSFORM_SETTINGS, check_name
from recbole_echomamba.config.yaml_text import MAX_LEVELS, MAX_VALUES, is_moderate
from recbole_echomamba.system.errors import UserError


class Config(RecBoleConfig):
    """RecBole's ``Config`` for any sequential model.

    Later sources override earlier ones: RecBole's general files, our ``overall.yaml``, what RecBole sets for this model or
    dataset, our ``model/`` and ``dataset/`` files, ``config_file_list``, ``config_dict``.

    Args:
        model: a name, ``module:Class`` or a class, see :func:`.get_model`; if None, the setting ``model``.
        dataset: a name; if None, the setting ``dataset``.
        config_file_list: YAML files.
        config_dict: settings. Text is converted by :func:`parse_value`.

    Attributes:
        model: the name of the model's class.
        model_reference: the text by which :func:`.get_model` finds the class again; ``None`` if it cannot be imported.
        settings: the merged settings before RecBole derives others from them, which build the same Config again.

    Raises:
        MissingFileError: a config file does not exist.
        UserError: a model or a setting is unknown, or a value cannot be used; the message names it.
    """

    model_reference: str | None
    settings: dict[str, Any]

    def __init__(
        self,
        model: str | type[SequentialRecommender] | None = None,
        dataset: str | None = None,
        config_file_list: list[str] | None = None,
        config_dict: dict[str, Any] | None = None,
    ):
        for key, value in (config_dict or {}).items():
            if not is_moderate(value):
                raise UserError(
                    f"{key} is nested more than {MAX_LEVELS} levels deep or holds more than {MAX_VALUES} values"
                )
        super().__init__(model, dataset, config_file_list, copy.deepcopy(config_dict))

    @property
    def hash(self) -> str:
        """Ten hex digits over model, dataset and every setting that changes the result, see :mod:`.settings_hash`."""
        processes = None if self["single_spec"] else self["world_size"]
        source = None if is_registered(self.model_class) else hash_source(self.model_class)
        return settings_hash(self.model, self.dataset, self.settings, processes, source)

    def compatibility_settings(self) -> None:
        """Restore the NumPy names that RecBole uses and NumPy 1.24 removed; RecBole's own remedy fails on NumPy 2."""
        removed_names = {
            "bool": np.bool_,
            "int": np.int64,
            "float": np.float64,
            "complex": np.complex128,
            "object": np.object_,
            "str": np.str_,
            "long": np.int64,
            "unicode": np.str_,
        }
        for name, scalar in removed_names.items():
            if name not in vars(np):
                setattr(np, name, scalar)

    def _init_parameters_category(self) -> None:
        super()._init_parameters_category()
        # RecBole appends to these lists, which belong to its module
        self.parameters = {category: list(keys) for category, keys in self.parameters.items()}

    def _load_cmd_line(self) -> dict[str, Any]:
        return {}

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return {key: parse_value(value) if isinstance(value, str) else value for key, value in config_dict.items()}

    def _load_config_files(self, file_list: list[str] | None) -> dict[str, Any]:
        files = file_list or []
        variants = [file for file in files if find_config_file(file).resolve().parent == variants_directory().resolve()]
        self._variant_settings = set(read_config_files(variants, self.yaml_loader))
        return read_config_files(files, self.yaml_loader)

    def _get_model_and_dataset(
        self, model: str | type[SequentialRecommender] | None, dataset: str | None
    ) -> tuple[str, type[SequentialRecommender], str]:
        named, dataset_name = complete_names(model, dataset, self.external_config_dict)
        check_name("dataset", dataset_name)
        model_class = get_model(named)
        self.model_reference = find_reference(model_class)
        return model_class.__name__, model_class, str(dataset_name)

    def _load_internal_config_dict(self, model: str, model_class: type[SequentialRecommender], dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        general = {}
        for file in ("overall", "dataset/sample", "quick_start_config/sequential"):
            general.update(self._read_properties(RECBOLE_PROPERTIES / f"{file}.yaml"))
        specific = {
            key: value
            for key, value in self.internal_config_dict.items()
            if key not in general or general[key] != value
        }
        ours = properties_directory()
        self.internal_config_dict.update(self._read_properties(ours / "overall.yaml"))
        self.internal_config_dict.update(specific)
        # a custom model has the settings of the classes that it is derived from
        for kind in reversed(model_class.__mro__[1:]):
            self.internal_config_dict.update(
                self._read_properties(RECBOLE_PROPERTIES / "model" / f"{kind.__name__}.yaml")
            )
        for kind in reversed(model_class.__mro__):
            self.internal_config_dict.update(self._read_properties(ours / "model" / f"{kind.__name__}.yaml"))
        self.internal_config_dict.update(self._read_properties(ours / "dataset" / f"{dataset}.yaml"))

    def _read_properties(self, file: Path) -> dict[str, Any]:
        """Return the settings of a file, none if it does not exist."""
        return read_settings_file(file, str(file), loader=self.yaml_loader) if file.is_file() else {}

    def _get_final_config_dict(self) -> dict[str, Any]:
        ignored = self._check_keys()
        final = super()._get_final_config_dict()
        for key in ignored:
            final.pop(key, None)
        if "train_neg_sample_args" not in self.external_config_dict and self._needs_no_negatives(final):
            final["train_neg_sample_args"] = None
        if (
            "normalize_all" not in self.external_config_dict
            and final.get("time_gaps") is True
            and final.get("normalize_all")
        ):
            # a default of RecBole's ml-100k; the gaps are read in seconds
            final["normalize_all"] = False
        final["eval_args"] = self._complete_eval_args(self.external_config_dict.get("eval_args", {}), final["metrics"])
        check_settings(final, self.internal_config_dict)
        check_model_settings(self.model, final)
        self._check_loss_and_negatives(final)
        self._warn_of_settings_without_effect(final)
        left_out = {*PROCESS_KEYS, "model", "dataset", "config_files", "MODEL_TYPE"}
        self.settings = copy.deepcopy({key: value for key, value in final.items() if key not in left_out})
        return final

    def _check_keys(self) -> set[str]:
        """Refuse unknown settings, and return those that belong to another model, which are ignored.

        A custom model may read any setting.
        """
        if not is_registered(self.model_class):
            return set()
        known, of_other_models = self._known_settings(), list_settings_of_models()
        ignored = set()
        for key in self.external_config_dict:
            if key in known:
                continue
            if key not in of_other_models:
                refuse_unknown(key, known)
            ignored.add(key)
            if key in self._variant_settings and key not in self.variable_config_dict:
                # a variant is made for several models
                continue
            logging.getLogger().warning("setting %r belongs to another model and has no effect on %s", key, self.model)
        return ignored

    def find_unknown(self, keys: Iterable[str]) -> list[str]:
        """Return those of the settings that this model refuses, and that a custom model may read."""
        if not is_registered(self.model_class):
            return []
        of_transforms = {key for own in TRANSFORM_SETTINGS.values() for key in own}
        known = self._known_settings() | list_settings_of_models() | of_transforms
        return [key for key in keys if key not in known]

    def _known_settings(self) -> set[str]:
        return list_known_settings([*self.internal_config_dict, *self._transform_settings()])

    def _transform_settings(self) -> tuple[str, ...]:
        """Return the names of the settings that the chosen transform reads."""
        name = self.external_config_dict.get("transform", self.internal_config_dict.get("transform"))
        return TRANSFORM_SETTINGS.get(name, ()) if isinstance(name, str) else ()

    @property
    def default_settings(self) -> dict[str, Any]:
        """The settings of this model and dataset where none is given, as far as they do not follow from given ones."""
        defaults = dict(self.internal_config_dict)
        defaults["eval_args"] = self._complete_eval_args({}, self["metrics"])
        if self._needs_no_negatives(self.settings):
            defaults["train_neg_sample_args"] = None
        if "normalize_all" not in self.external_config_dict:
            defaults["normalize_all"] = self.settings.get("normalize_all")
        return defaults

    def _complete_eval_args(self, given: Any, metrics: Any) -> Any:
        """Fill in what ``eval_args`` leaves out with our defaults; RecBole would fill in its own ratio split.

        The mode of DIN and DIEN, ``uni100``, is filled in only for their metrics: with others they are compared with models
        that rank all items.
        """
        if not isinstance(given, dict):
            return given
        complete = {**self._read_properties(properties_directory() / "overall.yaml")["eval_args"]}
        if has_value_metrics(metrics):
            complete["mode"] = self.internal_config_dict["eval_args"].get("mode", complete["mode"])
        complete.update(given)
        mode = complete["mode"]
        complete["mode"] = mode if isinstance(mode, dict) else {"valid": mode, "test": mode}
        return complete

    def _needs_no_negatives(self, final: dict[str, Any]) -> bool:
        return getattr(self.model_class, "input_type", None) is None and final.get("loss_type") in ("CE", "SampledCE")

    def _check_loss_and_negatives(self, final: dict[str, Any]) -> None:
        """Check that negatives are sampled for the losses that read them, and for no other."""
        if getattr(self.model_class, "input_type", None) is not None:
            return
        negatives = final["train_neg_sample_args"]
        sampled = isinstance(negatives, dict) and negatives.get("distribution", "uniform") not in (None, "None", "none")
        loss_type = final.get("loss_type")
        if loss_type == "BPR" and not sampled:
            raise UserError("loss_type: BPR needs a negative item for every target; leave train_neg_sample_args out")
        if loss_type in ("CE", "SampledCE") and negatives not in (None, "None"):
            raise UserError(
                f"loss_type: {loss_type} reads no negative items of the loader; leave train_neg_sample_args out, or set "
                "loss_type: BPR"
            )

    def _warn_of_settings_without_effect(self, final: dict[str, Any]) -> None:
        """Log which of the given settings nothing reads, because of another one."""
        warn = logging.getLogger().warning
        if "config_file" in self.external_config_dict:
            warn("setting 'config_file' has no effect; name config files with --config_files")
        metric = str(final["valid_metric"]).partition("@")[0].lower()
        bigger = final["valid_metric_bigger"]
        if bigger != self.internal_config_dict["valid_metric_bigger"] and bigger == (metric in smaller_metrics):
            warn("setting 'valid_metric_bigger' has no effect; it follows from valid_metric: %s", final["valid_metric"])
        reasons = dict(WITHOUT_EFFECT)
        if self.model not in KNOWLEDGE_GRAPH_MODELS:
            reasons |= dict.fromkeys(FOR_KNOWLEDGE_GRAPHS, f"{self.model} reads no knowledge graph")
        if is_registered(self.model_class):
            reasons["transform"] = f"it adds a column to the batches that {self.model} does not read"
        if not final["log_wandb"]:
            reasons["wandb_project"] = "it is read with log_wandb: True only"
        if final["benchmark_filename"]:
            reasons |= dict.fromkeys(FILTERS, "with benchmark_filename the rows are used as they are")
        for key, reason in reasons.items():
            if final.get(key) != self.internal_config_dict.get(key):
                warn("setting %r has no effect: %s", key, reason)

    def _init_device(self) -> None:
        final = self.final_config_dict
        gpu_id = final["gpu_id"]
        gpu_id = ",".join(map(str, gpu_id)) if isinstance(gpu_id, tuple | list) else str(gpu_id)
        final["gpu_id"] = os.environ["CUDA_VISIBLE_DEVICES"] = gpu_id
        cuda = bool(gpu_id) and bool(final["use_gpu"]) and torch.cuda.is_available()
        final["single_spec"] = "local_rank" not in final
        final.setdefault("local_rank", 0)
        final["device"] = torch.device("cuda" if cuda else "cpu")
        if final["enable_scaler"] and not cuda:
            logging.getLogger().warning("setting 'enable_scaler' has no effect: gradients are scaled on a GPU only")
        if not final["single_spec"]:
            self._join_process_group(cuda)

    def _join_process_group(self, cuda: bool) -> None:
        final = self.final_config_dict
        if cuda:
            final["device"] = torch.device("cuda", final["local_rank"])
            torch.cuda.set_device(final["device"])
        # torchrun has opened the meeting point already
        launched = torch.distributed.is_torchelastic_launched()
        torch.distributed.init_process_group(
            # RecBole always asks for nccl, which a CPU does not have
            backend="nccl" if cuda else "gloo",
            rank=final["local_rank"] + final["offset"],
            world_size=final["world_size"],
            init_method="env://" if launched else f"tcp://{final['ip']}:{final['port']}",
        )
        if final["local_rank"] != 0:
            final.update(state="error", show_progress=False, verbose=False)
