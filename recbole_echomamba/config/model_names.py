"""Find the class of a model by its name: ours first, then RecBole's sequential models."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import torch

anomaly_detection = torch.is_anomaly_enabled()
# Importing RecBole's models switches anomaly detection on for the whole process (sine.py), which makes every backward pass
# of every model record a traceback for each operation.
from recbole.model import sequential_recommender as recbole_models  # noqa: E402

torch.autograd.set_detect_anomaly(anomaly_detection)
from recbole.model.abstract_recommender import SequentialRecommender  # noqa: E402

from recbole_echomamba.models import RECOMMENDERS  # noqa: E402
from recbole_echomamba.system.errors import UserError  # noqa: E402

UNSUPPORTED = {
    "S3Rec": "S3Rec needs RecBole's two-stage trainer (pretrain, then finetune), which is not supported here",
}
"""RecBole's sequential models that do not run through this package, and why."""

FULL_RANKING_ONLY = ("SASRecCPR", "GRU4RecCPR")
"""RecBole's models that score all items at once and refuse to score a single one."""


def list_models() -> list[str]:
    """Return the names of all models that run through this package, ours first."""
    return [*RECOMMENDERS, *sorted(name for name in dir(recbole_models) if _is_supported(name))]


def get_model(name: str) -> type[SequentialRecommender]:
    """Return the class of a model.

    RecBole's own look-up is not used, because it imports lightgbm for every name that it does not know.

    Raises:
        UserError: there is no such model; the message suggests names.
    """
    if name in UNSUPPORTED:
        raise UserError(UNSUPPORTED[name])
    if name not in list_models():
        raise UserError(f"there is no model {name!r}; {suggest(name, list_models())}")
    return RECOMMENDERS.get(name) or getattr(recbole_models, name)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a hint for a misspelt word: the names closest to it, or all of them if none is close."""
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[match] for match in difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.6)]
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(by_lower.values())}"


def _is_supported(name: str) -> bool:
    model = getattr(recbole_models, name)
    is_model = isinstance(model, type) and issubclass(model, SequentialRecommender)
    return is_model and model is not SequentialRecommender and name not in UNSUPPORTED
