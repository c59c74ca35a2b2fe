"""Read one position of each row."""

import torch
from torch import Tensor


def at_position(hidden_states: Tensor, position: Tensor) -> Tensor:
    """Take ``hidden_states [B, L, d]`` at ``position [B]``: ``[B, d]``."""
    return hidden_states[torch.arange(position.shape[0], device=position.device), position]
