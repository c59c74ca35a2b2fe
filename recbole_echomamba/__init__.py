"""EchoMamba4Rec and other state-space sequential recommenders as a RecBole plugin."""

from recbole_echomamba import environment  # noqa: F401  before anything that imports torch
from recbole_echomamba.config.config import Config
from recbole_echomamba.config.model_names import get_model
from recbole_echomamba.data.preparation import create_dataset, data_preparation
from recbole_echomamba.experiment import load_run, run
from recbole_echomamba.models import EchoMamba4Rec, Mamba4Rec
from recbole_echomamba.recommendation import recommend
from recbole_echomamba.training.trainer import Trainer

__all__ = [
    "Config",
    "EchoMamba4Rec",
    "Mamba4Rec",
    "Trainer",
    "create_dataset",
    "data_preparation",
    "get_model",
    "load_run",
    "recommend",
    "run",
]
