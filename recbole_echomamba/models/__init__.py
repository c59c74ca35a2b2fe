"""The recommenders of this package, and the names of their weights in the authors' own code."""

from recbole_echomamba.models.echomamba4rec import EchoMamba4Rec
from recbole_echomamba.models.mamba4rec import Mamba4Rec
from recbole_echomamba.models.official import load_official_state_dict, official_state_dict

__all__ = ["EchoMamba4Rec", "Mamba4Rec", "load_official_state_dict", "official_state_dict"]

RECOMMENDERS = {model.__name__: model for model in (EchoMamba4Rec, Mamba4Rec)}
"""What can be named as ``--model``, besides RecBole's own."""
