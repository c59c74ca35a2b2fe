"""Find and read files of settings, and convert settings given as text; without importing RecBole or torch."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
from pathlib import Path
from typing import Any

import yaml

from recbole_echomamba.config.yaml_text import is_moderate, parse_yaml
from recbole_echomamba.system.errors import MissingFileError, UserError, suggest
from recbole_echomamba.system.files import read_text


def _find_recbole() -> Path:
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise MissingFileError("RecBole is not installed; pip install recbole==1.2.1")
    return Path(spec.origin).parent


RECBOLE = _find_recbole()
"""The folder of RecBole, whose import takes seconds."""

RECBOLE_PROPERTIES = RECBOLE / "properties"

PROCESS_KEYS = {"nproc", "world_size", "ip", "port", "offset", "local_rank"}
"""Settings of the processes of a run, set by :func:`.run` and not by a user."""

UNLISTED_RECBOLE_KEYS = {"encoding", "reg_weight", "benchmark_filename", "discretization", "numerical_features"}
"""Settings that RecBole's code reads but none of its files or lists mentions."""

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
"""Words that stand for a value in a setting given as text, in lower case."""


def variants_directory() -> Path:
    """Return the folder of our variants, settings for several models that have a name."""
    return properties_directory() / "variant"


def list_variants() -> list[str]:
    """Return the names of our variants."""
    return sorted(file.stem for file in variants_directory().glob("*.yaml"))


def find_config_file(file: Path | str) -> Path:
    """Return the path of a config file, which may also be the name of a variant."""
    variant = variants_directory() / f"{file}.yaml"
    return variant if not Path(file).exists() and str(file) in list_variants() else Path(file)


def properties_directory() -> Path:
    """Return the folder of our YAML files: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent.parent
    for directory in (package / "properties", package.parent / "properties"):
        if (directory / "overall.yaml").is_file():
            return directory
    raise MissingFileError(f"properties/overall.yaml is missing beside {package}; install the package again")


def parse_value(text: str) -> Any:
    """Convert a setting given as text, without evaluating it as code.

    Returns:
        The value of a Python literal, of a YAML list or mapping, or of a word in :data:`NAMED_VALUES`; otherwise, or if the
        value is too large to be a setting, the text.

    Raises:
        UserError: a mapping lacks the space after a colon.
    """
    value: Any
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = NAMED_VALUES.get(text.strip().lower(), text)
        if text.strip()[:1] in ("[", "{"):
            # an interval such as [5,inf) is not YAML and stays text
            with contextlib.suppress(ValueError):
                value = parse_yaml(text)
            if key := _find_glued_key(value):
                raise UserError(f"{text} cannot be read: put a space after the colon in {key}") from None
    value = list(value) if isinstance(value, tuple | set) else value
    return value if is_moderate(value) else text


def _find_glued_key(value: Any) -> str | None:
    """Return a key of a mapping in YAML that was meant as ``key: value`` and lacks the space; None if there is none."""
    if not isinstance(value, dict):
        return None
    for key, each in value.items():
        if each is None and isinstance(key, str) and ":" in key:
            return key
        if found := _find_glued_key(each):
            return found
    return None


def read_config_files(files: list[str], loader: type = yaml.FullLoader) -> dict[str, Any]:
    """Return the settings of several YAML files, of which the later ones win.

    Raises:
        MissingFileError: a file does not exist.
        UserError: a file cannot be read, or holds no settings.
    """
    merged = {}
    for file in files:
        hint = suggest(str(file), list_variants())
        merged.update(read_settings_file(find_config_file(file), f"config file {file}", hint, loader))
    return merged


def read_settings_file(path: Path, name: str, hint: str = "", loader: type = yaml.FullLoader) -> dict[str, Any]:
    """Return the settings of a YAML file.

    Args:
        path: the file.
        name: how messages call it.
        hint: what to do if it cannot be read.
        loader: the loader of PyYAML.

    Raises:
        MissingFileError: it does not exist.
        UserError: it cannot be read, or holds no settings.
    """
    text = read_text(path, name, hint)
    try:
        content = parse_yaml(text, loader)
    except ValueError as error:
        raise UserError(f"{name} is not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{name} must hold `key: value` lines")
    if strange := [key for key in content if not isinstance(key, str)]:
        raise UserError(f"{name} has {strange[0]!r} in the place of a setting's name; write `key: value` lines")
    return content


def complete_names(model: Any, dataset: str | None, settings: dict[str, Any]) -> tuple[Any, str]:
    """Return the model and the dataset of a run, which the settings name where the arguments do not.

    Raises:
        UserError: neither does.
    """
    names = []
    for key, name in (("model", model), ("dataset", dataset)):
        name = settings.get(key) if name is None else name
        if name is None:
            raise UserError(f"no {key} is given; pass --{key}=NAME")
        names.append(name)
    return names[0], names[1]
