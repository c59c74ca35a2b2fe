"""Merge and check settings, and find the class of a model by its name."""

from recbole_echomamba.config.config import Config
from recbole_echomamba.config.model_names import get_model

__all__ = ["Config", "get_model"]
