"""Which class a model name means: ours first, then RecBole's sequential models."""

from __future__ import annotations

import difflib

import torch

anomaly = torch.is_anomaly_enabled()
# Importing RecBole's models switches anomaly detection on for the whole process (sine.py), which makes every backward pass
# of every model record a traceback per operation.
from recbole.model import sequential_recommender as recbole_models  # noqa: E402

torch.autograd.set_detect_anomaly(anomaly)
from recbole.model.abstract_recommender import SequentialRecommender  # noqa: E402

from recbole_echomamba.models import RECOMMENDERS  # noqa: E402
from recbole_echomamba.system.errors import UserError  # noqa: E402


def model_names() -> list[str]:
    """Every model that runs through this package, ours first."""
    theirs = {
        name
        for name in dir(recbole_models)
        if isinstance(getattr(recbole_models, name), type)
        and issubclass(getattr(recbole_models, name), SequentialRecommender)
        and name not in ("SequentialRecommender", "S3Rec")
    }
    return [*RECOMMENDERS, *sorted(theirs)]


def get_model(name: str) -> type[SequentialRecommender]:
    """The class of a model name. Raises ValueError with the nearest names when there is none.

    RecBole's own look-up imports lightgbm for every name it does not know, so it is not asked.
    """
    if name == "S3Rec":
        raise UserError(
            "S3Rec needs RecBole's two-stage trainer (pretrain, then finetune), which is not supported here"
        )
    if name not in model_names():
        raise UserError(f"there is no model {name!r}; {nearest(name, model_names())}")
    return RECOMMENDERS.get(name) or getattr(recbole_models, name)


def nearest(word: str, known) -> str:
    """A hint for a misspelt word: the names closest to it, or all of them."""
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[match] for match in difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.6)]
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
