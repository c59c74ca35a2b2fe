"""Layers that several models share; they know tensors only. What one model alone uses is in that model's file."""

from recbole_echomamba.layers.mamba import Mamba
from recbole_echomamba.layers.norm import DropoutNorm
from recbole_echomamba.layers.readout import at_position

__all__ = ["DropoutNorm", "Mamba", "at_position"]
