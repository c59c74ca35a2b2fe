"""Training and evaluation, and the run directory that holds their results."""

from recbole_echomamba.training.trainer import Trainer

__all__ = ["Trainer"]
