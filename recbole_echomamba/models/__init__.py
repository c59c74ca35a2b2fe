"""The recommenders of this package."""

from recbole_echomamba.models.echomamba4rec import EchoMamba4Rec
from recbole_echomamba.models.mamba4rec import Mamba4Rec

__all__ = ["EchoMamba4Rec", "Mamba4Rec"]
