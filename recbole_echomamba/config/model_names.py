"""Find the class of a model by its name: ours, RecBole's sequential models, and custom models as ``module:Class``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import operator
import sys
from pathlib import Path
from types import ModuleType

import torch

anomaly_detection = torch.is_anomaly_enabled()
# Importing RecBole's models switches anomaly detection on for the whole process (sine.py), which makes every backward pass
# of every model record a traceback for each operation.
from recbole.model import sequential_recommender as recbole_models  # noqa: E402

torch.autograd.set_detect_anomaly(anomaly_detection)
from recbole.model.abstract_recommender import SequentialRecommender  # noqa: E402

from recbole_echomamba.config.early_checks import check_model_name, list_models  # noqa: E402
from recbole_echomamba.models import RECOMMENDERS  # noqa: E402
from recbole_echomamba.system.errors import MissingFileError, UserError, suggest  # noqa: E402

FULL_RANKING_ONLY = ("SASRecCPR", "GRU4RecCPR")
"""RecBole's models that score all items at once and refuse to score a single one."""


def get_model(name: str | type[SequentialRecommender]) -> type[SequentialRecommender]:
    """Return the class of a model.

    RecBole's own look-up is not used, because it imports lightgbm for every name that it does not know.

    Args:
        name: the name of a registered model; a custom model as ``module:Class``, looked up in the current folder first, or as
            ``path/file.py:Class``; or a class, which is returned.

    Raises:
        MissingFileError: there is no such file.
        UserError: there is no such model, it cannot be imported, or it is no sequential recommender; the message says what to do.
    """
    if not isinstance(name, str):
        return _check_class(name, getattr(name, "__name__", repr(name)))
    if ":" in name:
        return _check_class(_import_class(name), name)
    check_model_name(name)
    return RECOMMENDERS.get(name) or getattr(recbole_models, name)


def is_registered(model_class: type) -> bool:
    """Return whether a class is one of the models of :func:`list_models`, not a custom model."""
    name = model_class.__name__
    return name in list_models() and get_model(name) is model_class


def find_reference(model_class: type) -> str | None:
    """Return the text by which :func:`get_model` finds a class in another process.

    Returns:
        The name of a registered model, ``module:Class`` of a custom one, or ``None`` for a class that cannot be imported by its
        name, because it is defined in a script, a notebook or a function.
    """
    if is_registered(model_class):
        return model_class.__name__
    if model_class.__module__ in ("__main__", "__mp_main__"):
        return None
    reference = f"{model_class.__module__}:{model_class.__qualname__}"
    try:
        return reference if get_model(reference) is model_class else None
    except UserError:
        return None


def class_name(reference: str) -> str:
    """Return the name of the class that ``module:Class`` or the name of a model stands for."""
    return reference.rpartition(":")[2].rpartition(".")[2]


def hash_source(model_class: type) -> str | None:
    """Return the SHA-256 of the file that defines a class; ``None`` if there is none."""
    try:
        file = inspect.getsourcefile(model_class)
        return hashlib.sha256(Path(file or "").read_bytes()).hexdigest()
    except (TypeError, OSError):
        return None


def _check_class(found: object, name: str) -> type[SequentialRecommender]:
    if isinstance(found, type) and issubclass(found, SequentialRecommender):
        return found
    raise UserError(
        f"{name} is no sequential recommender; derive the class from recbole_echomamba.models.base.StateSpaceRecommender"
    )


def _import_class(name: str) -> object:
    """Import ``module:Class`` or ``path/file.py:Class``; an error of the imported code is shown as one of the user's."""
    module_name, _, path = name.rpartition(":")
    try:
        module = _import_file(module_name) if module_name.endswith(".py") else _import_module(module_name)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"model {name} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        return operator.attrgetter(path)(module)
    except AttributeError:
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise UserError(f"{module_name} has no class {path!r}; {suggest(path, classes)}") from None


def _import_module(name: str) -> ModuleType:
    _add_to_path(Path.cwd())
    return importlib.import_module(name)


def _import_file(name: str) -> ModuleType:
    """Import a file once, as a module that is called like its absolute path, so that no other has its name."""
    file = Path(name).resolve()
    if str(file) in sys.modules:
        return sys.modules[str(file)]
    if not file.is_file():
        raise MissingFileError(f"there is no file {file} to import a model from")
    # as for a script, so that the file can import its neighbours
    _add_to_path(file.parent)
    spec = importlib.util.spec_from_file_location(str(file), file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[str(file)] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[str(file)]
        raise
    return module


def _add_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
