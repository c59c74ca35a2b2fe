"""Training and evaluation, the processes that do them, and the run directory that holds the results."""

from recbole_echomamba.training.trainer import Trainer

__all__ = ["Trainer"]
