"""Describe which slots reach the position that is read out, and in which order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Walk:
    """The slots of each row that reach the position ``T`` read out, in the order in which they lie away from it.

    A forward layer reaches ``T`` from the slots ``T, T-1, ..., 0``, a reverse one from ``T, T+1, ..., L-1``. Operations take
    tokens in one of two layouts: padded, ``[B, L, .]`` with every slot, or packed, ``[P, .]`` with only the slots of the walks,
    row after row in slot order. The packed layout is for the CPU; on a GPU, finding its size ``P`` would cost a synchronisation.

    Args:
        position: ``[B]`` integers, ``T`` of each row.
        length: ``L``.
        reverse: walk to the end of the row instead of to its start.
        packed: the layout of the tokens.

    Attributes:
        covers: whether the walks are known to pass every slot.
        start, count, step: int64 arrays ``[B]``: where a walk starts in the flat list of tokens, how many tokens it has, and
            whether they follow (+1) or precede (-1) each other. Only for positions on the CPU.
    """

    def __init__(self, position: Tensor, length: int, reverse: bool = False, packed: bool = False):
        self.position, self.length, self.reverse, self.packed = position, length, reverse, packed
        self.covers = False
        # a traced position has no value
        if position.device.type != "cpu" or torch.compiler.is_exporting():
            return
        slots = position.numpy().astype(np.int64)
        if len(slots) and not (slots.min() >= 0 and slots.max() < length):
            raise ValueError(f"positions must lie in 0..{length - 1}, they are {slots.min()}..{slots.max()}")
        rows = np.arange(len(slots))
        self.count = length - slots if reverse else slots + 1
        self.step = np.full(len(slots), 1 if reverse else -1)
        if packed:
            offset = np.cumsum(self.count) - self.count
            self.start = offset if reverse else offset + slots
        else:
            self.start = rows * length + slots

    @classmethod
    def over_all(cls, batch: int, length: int, device, reverse: bool = False) -> Walk:
        """Return the walks that pass every slot: from the last slot, or from slot 0 when ``reverse``."""
        walk = cls(torch.full((batch,), 0 if reverse else length - 1, device=device), length, reverse)
        walk.covers = True
        return walk

    def at(self, tokens: Tensor) -> Tensor:
        """Take padded tokens ``[B, L, .]`` at the positions, ``[B, .]``."""
        return tokens[torch.arange(tokens.shape[0], device=tokens.device), self.position]

    def towards_position(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ``start, count, step`` of the same walks taken from their far end, as a full scan reads them."""
        return self.start + (self.count - 1) * self.step, self.count, -self.step

    def empty_gradient(self, tokens: Tensor) -> Tensor:
        """Allocate memory like ``tokens`` for a kernel that writes every token of the walks; zeros where it leaves some out."""
        allocate = torch.empty_like if self.packed or self.covers else torch.zeros_like
        return allocate(tokens, memory_format=torch.contiguous_format)
