"""EchoMamba4Rec and other state-space sequential recommenders as a RecBole plugin.

The public names are imported on first use (PEP 562), so that ``import recbole_echomamba`` and ``echomamba --help`` do not
load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

# Must come before any import of torch.
from recbole_echomamba import environment  # noqa: F401

if TYPE_CHECKING:
    from recbole_echomamba.config.config import Config
    from recbole_echomamba.config.model_names import get_model
    from recbole_echomamba.data.preparation import create_dataset, data_preparation
    from recbole_echomamba.experiment import load_run, run
    from recbole_echomamba.models import EchoMamba4Rec, Mamba4Rec
    from recbole_echomamba.recommendation import Recommender, recommend
    from recbole_echomamba.training.trainer import Trainer

__all__ = [
    "Config",
    "EchoMamba4Rec",
    "Mamba4Rec",
    "Recommender",
    "Trainer",
    "create_dataset",
    "data_preparation",
    "get_model",
    "load_run",
    "recommend",
    "run",
]

_MODULES = {
    "Config": "config.config",
    "EchoMamba4Rec": "models",
    "Mamba4Rec": "models",
    "Recommender": "recommendation",
    "Trainer": "training.trainer",
    "create_dataset": "data.preparation",
    "data_preparation": "data.preparation",
    "get_model": "config.model_names",
    "load_run": "experiment",
    "recommend": "recommendation",
    "run": "experiment",
}
"""The module that defines each public name."""


def __getattr__(name: str) -> object:
    """Import a public name on first use and keep it as an attribute of the package."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the attributes of the package, those not imported yet included."""
    return sorted({*globals(), *__all__})
