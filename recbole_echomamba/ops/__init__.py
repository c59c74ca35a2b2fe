"""The selective scan of Mamba, and the convolution before it: one meaning, several backends.

``reference`` (plain PyTorch) defines the operations, ``numba`` computes them on a CPU. The backend is chosen by device and
by what imports, and logged once with the reason; ``ECHOMAMBA_SCAN=reference|numba`` forces one.
"""

from __future__ import annotations

from torch import Tensor

from recbole_echomamba.ops.dispatch import backend_for
from recbole_echomamba.ops.walk import Walk

__all__ = ["Walk", "conv_silu", "scan_at", "selective_scan", "selective_scan_at", "walk_from"]


def selective_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False
) -> Tensor:
    """Every position of the recurrence, ``[B, L, D]``; see :func:`.reference.selective_scan`."""
    return backend_for(x).selective_scan(x, delta, A, B, C, D, reverse)


def selective_scan_at(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, position: Tensor, reverse: bool = False
) -> Tensor:
    """One position of each row, ``[B, D]``, walking only the slots that count.

    Args:
        x, delta: ``[B, L, D]``. A: ``[D, N]``. B: ``[B, L, N]``. C_at: ``[B, N]``. D: ``[D]``. position: ``[B]``.
        reverse: the recurrence runs from slot ``L-1`` down to the position instead of from slot 0 up to it.
    """
    return scan_at(x, delta, A, B, C_at, D, Walk(position, x.shape[1], reverse))


def scan_at(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, walk: Walk) -> Tensor:
    """:func:`selective_scan_at` over a :class:`Walk`, whose layout ``x``, ``delta`` and ``B`` have; ``[B, D]``."""
    return backend_for(x).scan_at(x, delta, A, B, C_at, D, walk)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor, walk: Walk) -> Tensor:
    """Causal depthwise convolution and SiLU, in the layout of the walk; see :func:`.reference.conv_silu`.

    In the padded layout, slots off the walk may hold anything.
    """
    return backend_for(x).conv_silu(x, weight, bias, walk)


def walk_from(tokens: Tensor, position: Tensor, reverse: bool = False) -> tuple[Tensor, Walk]:
    """The walks from ``position [B]`` in ``tokens [B, L, .]``, and the tokens in the layout the backend likes best."""
    backend = backend_for(tokens)
    packs = hasattr(backend, "pack")
    walk = Walk(position, tokens.shape[1], reverse, packed=packs)
    return (backend.pack(tokens, walk) if packs else tokens), walk
