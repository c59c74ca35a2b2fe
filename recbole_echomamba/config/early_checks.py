"""Refuse wrong arguments of a command before RecBole and torch are imported, which takes seconds.

What is refused here would be refused later too, with the same words, by :class:`~recbole_echomamba.config.config.Config` or when
the data are read. What is not certain without these imports passes: settings of custom models and of other models, and what
depends on several settings or on the data.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dataset_prep.origins import MOVIELENS, ORIGINS
from recbole_echomamba.config.setting_names import (
    LOADER,
    list_known_settings,
    list_settings_of_models,
    refuse_unknown,
)
from recbole_echomamba.config.settings_files import (
    RECBOLE,
    RECBOLE_PROPERTIES,
    complete_names,
    parse_value,
    properties_directory,
    read_config_files,
    read_settings_file,
)
from recbole_echomamba.config.values import TRANSFORM_SETTINGS, check_name, check_values
from recbole_echomamba.system.errors import MissingFileError, UserError, suggest

OUR_MODELS = ("EchoMamba4Rec", "Mamba4Rec")
UNSUPPORTED = {
    "S3Rec": "S3Rec needs RecBole's two-stage trainer (pretrain, then finetune), which is not supported here",
}
"""RecBole's sequential models that do not run through this package, and why."""

RUN_CONFIG = "config.yaml"
"""The file that makes a folder a run directory."""


def check_arguments(
    models: Iterable[str | None], dataset: str | None, config_files: list[str], settings: dict[str, str]
) -> None:
    """Check the arguments that start runs: names, settings and the file of the dataset.

    Args:
        models: the names of the models; ``None`` for the setting ``model``.
        dataset: the name of the dataset; ``None`` for the setting ``dataset``.
        config_files: YAML files with settings.
        settings: settings given as text.

    Raises:
        MissingFileError: a config file or the dataset does not exist.
        UserError: a model or setting is unknown, or a value cannot be used.
    """
    given: dict[str, Any] = {key: parse_value(value) for key, value in settings.items()}
    merged = {**read_config_files(config_files), **given}
    names = []
    for model in models:
        name, dataset = complete_names(model, dataset, merged)
        names.append(str(name))
        check_name("dataset", dataset)
        check_model_name(str(name))
    if any(":" in name for name in names):
        return
    for name in names:
        defaults = _read_defaults(name, str(dataset))
        _check_keys(merged, defaults)
        check_values({key: value for key, value in given.items() if key in defaults}, defaults)
    if not merged.get("benchmark_filename") and dataset != "ml-100k":
        _check_dataset(str(dataset), str(merged.get("data_path", "dataset/")))


def check_model_name(name: str) -> None:
    """Check that there is a model of this name; a custom model, ``module:Class``, passes.

    Raises:
        UserError: otherwise; the message suggests names.
    """
    if ":" in name:
        return
    if name in UNSUPPORTED:
        raise UserError(UNSUPPORTED[name])
    known = list_models()
    if name not in known and name in _list_other_models():
        raise UserError(
            f"{name} is no sequential model, and only these run through this package, such as SASRec or GRU4Rec"
        )
    if name not in known:
        raise UserError(f"there is no model {name!r}; {suggest(name, known)}; a custom model is named module:Class")


def check_run_directory(directory: Path | str) -> None:
    """Check that a folder is a run directory.

    Raises:
        MissingFileError: otherwise.
    """
    if not (Path(directory) / RUN_CONFIG).is_file():
        raise MissingFileError(f"{directory} is not a run directory: it holds no {RUN_CONFIG}")


@functools.cache
def list_models() -> tuple[str, ...]:
    """Return the names of all models that run through this package, ours first, from the text of RecBole's imports."""
    names = _list_imports(RECBOLE / "model" / "sequential_recommender")
    return (*OUR_MODELS, *sorted(name for name in names if name not in UNSUPPORTED))


def _list_other_models() -> set[str]:
    """Return the names of RecBole's models that are not sequential."""
    return {name for family in (RECBOLE / "model").glob("*_recommender") for name in _list_imports(family)}


def _list_imports(folder: Path) -> list[str]:
    """Return the names that a package of RecBole imports, from its text."""
    return re.findall(r"^from .* import (\w+)$", (folder / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)


def explain_missing_dataset(name: str, file: Path) -> str:
    """Say that a dataset is missing, and how to get it.

    Args:
        name: the dataset.
        file: the atomic file that does not exist.
    """
    folder = file.parent.parent
    missing = f"dataset {name!r} is missing: {file} does not exist"
    if name in MOVIELENS:
        return f"{missing}; this gets it: python -m dataset_prep {name} --download --out {folder}"
    if name in ORIGINS:
        raw, page = ORIGINS[name]
        return f"{missing}; get {raw} from {page}, then: python -m dataset_prep {name} --raw {raw} --out {folder}"
    parts = [each.name.removeprefix(f"{name}.").removesuffix(".inter") for each in file.parent.glob(f"{name}.*.inter")]
    if parts:
        named = ", ".join(sorted(parts))
        return f"{missing}; to read the split files beside it, name them in order, such as --benchmark_filename='[{named}]'"
    there = [each.parent.name for each in folder.glob("*/*.inter") if each.stem == each.parent.name]
    hint = suggest(name, ["ml-100k", *ORIGINS, *there])
    close = f"; {hint}" if hint.startswith("did you mean") else ""
    return (
        f"{missing}; put a RecBole atomic file there (python -m dataset_prep table makes one of a log), or point --data_path at "
        f"the folder that holds {name}/{close}"
    )


def _read_defaults(model: str, dataset: str) -> dict[str, Any]:
    """Return the settings that RecBole's files and ours give a model and a dataset, without what RecBole derives from them."""
    files = ["overall", f"model/{model}", "dataset/sample", f"dataset/{dataset}", "quick_start_config/sequential"]
    ours = ["overall", f"model/{model}", f"dataset/{dataset}"]
    if model in OUR_MODELS:
        ours.insert(1, "model/StateSpaceRecommender")
    merged: dict[str, Any] = {}
    for folder, names in ((RECBOLE_PROPERTIES, files), (properties_directory(), ours)):
        for name in names:
            merged.update(_read_settings(folder / f"{name}.yaml"))
    return merged


def _check_dataset(name: str, data_path: str) -> None:
    file = Path(data_path) / name / f"{name}.inter"
    if not file.is_file():
        raise MissingFileError(explain_missing_dataset(name, file))


def _check_keys(given: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Refuse settings of no model; which transform reads which setting is checked later."""
    known = list_known_settings(defaults)
    of_transforms = {key for keys in TRANSFORM_SETTINGS.values() for key in keys}
    for key in given:
        if key not in known | of_transforms | list_settings_of_models():
            refuse_unknown(key, known)


def _read_settings(file: Path) -> dict[str, Any]:
    """Return the settings of a file, none if it does not exist."""
    return read_settings_file(file, str(file), loader=LOADER) if file.is_file() else {}
