"""RecBole's configuration with our properties injected, nothing read from ``sys.argv`` and nothing evaluated."""

from __future__ import annotations

import ast
import contextlib
import copy
import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np
import recbole.config
import torch
import yaml
from recbole.config import Config as RecBoleConfig
from recbole.utils.argument_list import dataset_arguments, evaluation_arguments, general_arguments, training_arguments

from recbole_echomamba.config.checks import check_settings
from recbole_echomamba.config.model_names import get_model, model_names, nearest
from recbole_echomamba.system.errors import MissingFileError, UserError

RECBOLE_PROPERTIES = Path(recbole.config.__file__).parent.parent / "properties"

PROCESS_KEYS = {"nproc", "world_size", "ip", "port", "offset", "local_rank"}
"""Keys the doors set for runs of several processes."""

UNLISTED_RECBOLE_KEYS = {"encoding", "reg_weight", "benchmark_filename", "discretization", "numerical_features"}
"""Keys RecBole's code reads that none of its files mention."""

NOT_IN_HASH = {
    *PROCESS_KEYS,
    *("seed", "gpu_id", "use_gpu", "worker", "state", "show_progress", "data_path", "checkpoint_dir", "variant"),
    "keep_freed_memory",
    "data_cache",
    *("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path", "log_wandb", "wandb_project"),
}
"""Settings that do not change what is computed, or that a result names by itself (the seed): outside the hash."""


def properties_directory() -> Path:
    """Our YAML files: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent.parent
    for directory in (package / "properties", package.parent / "properties"):
        if (directory / "overall.yaml").is_file():
            return directory
    raise MissingFileError(f"properties/overall.yaml is missing beside {package}: the installation is incomplete")


class Config(RecBoleConfig):
    """RecBole's ``Config`` for any sequential model.

    Merge order, low to high: RecBole's general files, our ``overall.yaml``, what RecBole sets for this model or data set,
    our ``model/`` and ``dataset/`` files, ``config_file_list``, ``config_dict``.

    Args:
        model: a name, or a model class. dataset: a name.
        config_file_list: YAML files. config_dict: settings; strings are read as Python literals or YAML lists.

    Attributes:
        settings: the merged settings before RecBole derives others from them; enough to build the same Config again.

    Raises:
        ValueError: an unknown model or key, or a value out of range; the message names it.
        FileNotFoundError: a config file that is not there.
    """

    def __init__(self, model=None, dataset=None, config_file_list=None, config_dict=None):
        super().__init__(model, dataset, config_file_list, copy.deepcopy(config_dict))

    def compatibility_settings(self):
        """RecBole's code uses the NumPy names dropped in 1.24; its own remedy does not run on NumPy 2."""
        aliases = {
            "bool": np.bool_,
            "int": np.int64,
            "float": np.float64,
            "complex": np.complex128,
            "object": np.object_,
        }
        for name, scalar in {**aliases, "str": np.str_, "long": np.int64, "unicode": np.str_}.items():
            if name not in vars(np):
                setattr(np, name, scalar)

    def _init_parameters_category(self):
        super()._init_parameters_category()
        self.parameters = {
            category: list(keys) for category, keys in self.parameters.items()
        }  # RecBole appends to them

    def _load_cmd_line(self):
        return {}

    def _convert_config_dict(self, config_dict):
        return {key: parse_value(value) if isinstance(value, str) else value for key, value in config_dict.items()}

    def _load_config_files(self, file_list):
        merged = {}
        for file in file_list or []:
            try:
                content = yaml.load(Path(file).read_text(encoding="utf-8"), Loader=self.yaml_loader)
            except FileNotFoundError:
                raise MissingFileError(f"config file {file} does not exist") from None
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"config file {file} cannot be read: {error}") from None
            except yaml.YAMLError as error:
                raise UserError(f"config file {file} is not valid YAML: {error}") from None
            if content is not None and not isinstance(content, dict):
                raise UserError(f"config file {file} must hold `key: value` lines")
            merged.update(content or {})
        return merged

    def _get_model_and_dataset(self, model, dataset):
        model = model if model is not None else self.external_config_dict.get("model")
        dataset = dataset if dataset is not None else self.external_config_dict.get("dataset")
        for name, value in (("model", model), ("dataset", dataset)):
            if value is None:
                raise UserError(f"no {name} is given; pass --{name}=NAME")
        model_class = get_model(model) if isinstance(model, str) else model
        return model_class.__name__, model_class, str(dataset)

    def _load_internal_config_dict(self, model, model_class, dataset):
        super()._load_internal_config_dict(model, model_class, dataset)
        general = {}
        for file in ("overall", "dataset/sample", "quick_start_config/sequential"):
            general.update(self._read(RECBOLE_PROPERTIES / f"{file}.yaml"))
        specific = {k: v for k, v in self.internal_config_dict.items() if k not in general or general[k] != v}
        ours = properties_directory()
        self.internal_config_dict.update(self._read(ours / "overall.yaml"))
        self.internal_config_dict.update(specific)
        for kind in reversed(model_class.__mro__):  # a model of one's own has the settings of the one it is made from
            self.internal_config_dict.update(self._read(ours / "model" / f"{kind.__name__}.yaml"))
        self.internal_config_dict.update(self._read(ours / "dataset" / f"{dataset}.yaml"))

    def _read(self, file: Path) -> dict:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=self.yaml_loader) or {} if file.is_file() else {}

    def _get_final_config_dict(self):
        self._refuse_unknown_keys()
        final = super()._get_final_config_dict()
        if "train_neg_sample_args" not in self.external_config_dict and self._needs_no_negatives(final):
            final["train_neg_sample_args"] = None
        final["eval_args"] = self._whole_evaluation(final["eval_args"])
        check_settings(final, self.internal_config_dict)
        left_out = {*PROCESS_KEYS, *self._without_effect, "model", "dataset", "config_files", "MODEL_TYPE"}
        self.settings = copy.deepcopy({k: v for k, v in final.items() if k not in left_out})
        return final

    def _whole_evaluation(self, arguments):
        """What ``eval_args`` leaves out is ours; RecBole would put its own ratio split there."""
        given = self.external_config_dict.get("eval_args", {})
        if not isinstance(given, dict):
            return given
        ours = self._read(properties_directory() / "overall.yaml")["eval_args"]
        mode = {**ours, **given}["mode"]
        phases = mode if isinstance(mode, dict) else {"valid": mode, "test": mode}
        return {**ours, **given, "mode": phases}

    def _needs_no_negatives(self, final) -> bool:
        return getattr(self.model_class, "input_type", None) is None and final.get("loss_type") == "CE"

    def _refuse_unknown_keys(self):
        listed = {*general_arguments, *training_arguments, *evaluation_arguments, *dataset_arguments}
        here = {
            *self.internal_config_dict,
            *listed,
            *PROCESS_KEYS,
            *UNLISTED_RECBOLE_KEYS,
            "model",
            "dataset",
            "config_files",
        }
        elsewhere = set()
        for file in [*RECBOLE_PROPERTIES.glob("model/*.yaml"), *properties_directory().glob("model/*.yaml")]:
            elsewhere |= set(self._read(file))
        self._without_effect = set()
        for key in self.external_config_dict:
            if key in here:
                continue
            if key not in elsewhere and self.model in model_names():
                raise UserError(f"there is no setting {key!r}; {nearest(key, sorted(here))}")
            if key not in elsewhere:
                continue  # a setting of a model of one's own
            self._without_effect.add(key)
            logging.getLogger().warning("setting %r belongs to another model and has no effect on %s", key, self.model)

    def _init_device(self):
        final = self.final_config_dict
        gpu_id = final["gpu_id"]
        gpu_id = ",".join(map(str, gpu_id)) if isinstance(gpu_id, tuple | list) else str(gpu_id)
        final["gpu_id"] = os.environ["CUDA_VISIBLE_DEVICES"] = gpu_id
        cuda = bool(gpu_id) and bool(final["use_gpu"]) and torch.cuda.is_available()
        final["single_spec"] = "local_rank" not in final
        final.setdefault("local_rank", 0)
        final["device"] = torch.device("cuda" if cuda else "cpu")
        if not final["single_spec"]:
            self._join_process_group(cuda)

    def _join_process_group(self, cuda: bool):
        final = self.final_config_dict
        if cuda:
            final["device"] = torch.device("cuda", final["local_rank"])
            torch.cuda.set_device(final["device"])
        torch.distributed.init_process_group(
            backend="nccl" if cuda else "gloo",  # RecBole asks for nccl always; a CPU has only gloo
            rank=final["local_rank"] + final["offset"],
            world_size=final["world_size"],
            # torchrun has opened the meeting point already
            init_method="env://"
            if torch.distributed.is_torchelastic_launched()
            else f"tcp://{final['ip']}:{final['port']}",
        )
        if final["local_rank"] != 0:
            final.update(state="error", show_progress=False, verbose=False)

    @property
    def hash(self) -> str:
        """Ten hex digits over model, data set and every setting that changes the result; not seed, paths or device."""
        settings = {k: v for k, v in self.settings.items() if k not in NOT_IN_HASH}
        if not self["single_spec"]:
            settings["processes"] = self["world_size"]
        text = json.dumps([self.model, self.dataset, settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


NAMED_VALUES = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
    "none": None,
    "null": None,
}


def parse_value(text: str):
    """A setting given as text: a Python literal, a YAML list or mapping, true/false, or the text itself. Never evaluated."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = NAMED_VALUES.get(text.strip().lower(), text)
        if text.strip()[:1] in ("[", "{"):
            with contextlib.suppress(yaml.YAMLError):  # an interval such as [5,inf) stays text
                value = yaml.safe_load(text)
    return list(value) if isinstance(value, tuple | set) else value
