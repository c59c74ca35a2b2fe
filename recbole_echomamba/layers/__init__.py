"""Building blocks: tensors in, tensors out; no RecBole, no configuration object."""

from recbole_echomamba.layers.bidirectional import BidirectionalMamba
from recbole_echomamba.layers.glu import GatedLinearUnit
from recbole_echomamba.layers.mamba import Mamba
from recbole_echomamba.layers.norm import DropoutNorm
from recbole_echomamba.layers.readout import at_position
from recbole_echomamba.layers.spectral import SpectralFilter

__all__ = ["BidirectionalMamba", "DropoutNorm", "GatedLinearUnit", "Mamba", "SpectralFilter", "at_position"]
