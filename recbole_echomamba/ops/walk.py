"""Which slots reach the position that is read out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Walk:
    """The way from one position ``T`` of each row to the start of the row (forward layers) or to its end (backward ones).

    Operations take tokens in one of two layouts: padded, ``[B, L, .]`` with every slot, or packed, ``[P, .]`` with only the
    slots on the way, row after row. The packed layout is for the CPU; on a GPU its size would cost a synchronisation.

    Args:
        position: ``[B]`` integers. length: ``L``. reverse: the way leads to the end. packed: the layout.

    Attributes:
        covers: whether the walks are known to pass every slot.
        start, count, step: int64 arrays ``[B]``, where a row's way begins in the flat list of tokens, how many tokens it has
            and whether they follow (+1) or precede (-1) each other. Only for tensors on the CPU.
    """

    def __init__(self, position: Tensor, length: int, reverse: bool = False, packed: bool = False):
        self.position, self.length, self.reverse, self.packed = position, length, reverse, packed
        self.covers = False
        if position.device.type != "cpu":
            return
        slots = position.numpy().astype(np.int64)
        if len(slots) and not (slots.min() >= 0 and slots.max() < length):
            raise ValueError(f"positions must lie in 0..{length - 1}, they are {slots.min()}..{slots.max()}")
        rows = np.arange(len(slots))
        self.count = length - slots if reverse else slots + 1
        self.step = np.full(len(slots), 1 if reverse else -1)
        if not packed:
            self.start = rows * length + slots
            return
        offset = np.cumsum(self.count) - self.count
        self.start = offset if reverse else offset + slots

    @classmethod
    def over_all(cls, batch: int, length: int, device, reverse: bool = False) -> Walk:
        """The way that passes every slot: what a full scan reads, walked backwards."""
        walk = cls(torch.full((batch,), 0 if reverse else length - 1, device=device), length, reverse)
        walk.covers = True
        return walk

    def at(self, tokens: Tensor) -> Tensor:
        """Padded tokens ``[B, L, .]`` at the positions read out, ``[B, .]``."""
        return tokens[torch.arange(len(tokens), device=tokens.device), self.position]
