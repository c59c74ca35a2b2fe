"""Settings: how they are merged and checked, and which class a model name means."""

from recbole_echomamba.config.config import Config
from recbole_echomamba.config.model_names import get_model

__all__ = ["Config", "get_model"]
