"""The selective scan of Mamba and what surrounds it: one definition, several backends.

``reference`` (plain PyTorch) defines the operations; ``numba`` computes them on a CPU, ``triton`` and ``mamba_ssm`` on a GPU.
The backend is chosen by device and by what imports, and the choice is logged once with its reason;
``ECHOMAMBA_SCAN=reference|numba|triton|mamba_ssm`` forces one. While ``torch.export`` traces, they are those of
``traceable``, without loops.

The models predict from one position ``T`` of each history, so a layer can be evaluated there alone. A :class:`Walk` says which
slots reach ``T`` and how their tokens are laid out; the operations named ``*_at`` or taking a ``walk`` work along it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_echomamba.ops.cross_entropy import linear_cross_entropy
from recbole_echomamba.ops.dispatch import backend_for
from recbole_echomamba.ops.ranking import linear_rank, linear_top_k, top_k
from recbole_echomamba.ops.sampled_softmax import ClassSampler, sampled_cross_entropy
from recbole_echomamba.ops.spectral import causal_spectral_filter, spectral_filter
from recbole_echomamba.ops.walk import Walk

__all__ = [
    "ClassSampler",
    "Walk",
    "causal_spectral_filter",
    "conv_silu",
    "dropout_norm",
    "linear_cross_entropy",
    "linear_rank",
    "linear_top_k",
    "sampled_cross_entropy",
    "scan_at",
    "selective_scan",
    "selective_scan_at",
    "spectral_filter",
    "step_sizes",
    "top_k",
    "walks_from",
]


def selective_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False
) -> Tensor:
    """Run the recurrence over every position, ``[B, L, D]``; see :func:`.reference.selective_scan`."""
    _check_shapes(x, delta, A, D, B=(B, (*x.shape[:2], A.shape[1])), C=(C, (*x.shape[:2], A.shape[1])))
    return backend_for(x, all_positions=True).selective_scan(x, delta, A, B, C, D, reverse)


def selective_scan_at(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, position: Tensor, reverse: bool = False
) -> Tensor:
    """Run the recurrence and return one position of each row, ``[B, D]``; only the slots that reach it are read.

    Args:
        x, delta: ``[B, L, D]``.
        A: ``[D, N]``.
        B: ``[B, L, N]``.
        C_at: ``[B, N]``, the output gate at the positions.
        D: ``[D]``.
        position: ``[B]``.
        reverse: run from slot ``L-1`` down to the position instead of from slot 0 up to it.
    """
    _check_shapes(x, delta, A, D, B=(B, (*x.shape[:2], A.shape[1])), C_at=(C_at, (len(x), A.shape[1])))
    return scan_at(x, delta, A, B, C_at, D, Walk(position, x.shape[1], reverse))


def scan_at(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, walk: Walk) -> Tensor:
    """Run the recurrence along a walk and return its last token, at the position; see :func:`.reference.scan_at`.

    Args:
        x, delta: padded ``[B, L, D]`` or packed ``[P, D]``, in the layout of ``walk``.
        A: ``[D, N]``.
        B: padded ``[B, L, N]`` or packed ``[P, N]``.
        C_at: ``[B, N]``, the output gate at the positions.
        D: ``[D]``.
        walk: the slots that reach the positions.

    Returns:
        ``[B, D]``.
    """
    return backend_for(x).scan_at(x, delta, A, B, C_at, D, walk)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor, walk: Walk) -> tuple[Tensor, Tensor]:
    """Convolve causally along the walk and apply SiLU; return all tokens and those at the positions, ``[B, D]``.

    See :func:`.reference.conv_silu`. In the padded layout, slots off the walk may hold anything.
    """
    return backend_for(x).conv_silu(x, weight, bias, walk)


def step_sizes(dt: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute ``delta = softplus(dt W^T + b)``, ``[..., R] -> [..., D]``; see :func:`.reference.step_sizes`."""
    return backend_for(dt).step_sizes(dt, weight, bias)


def dropout_norm(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, p: float, eps: float) -> Tensor:
    """Compute ``LN(Dropout(x) + residual)``, ``[..., d] -> [..., d]``; see :func:`.reference.dropout_norm`."""
    return backend_for(x).dropout_norm(x, residual, weight, bias, p, eps)


def walks_from(
    tokens: Tensor, position: Tensor, directions: tuple[bool, ...]
) -> tuple[Tensor, list[tuple[Tensor, Walk]]]:
    """Collect the tokens of the walks that end at one position of each row.

    Args:
        tokens: ``[B, L, .]``.
        position: ``[B]``.
        directions: ``reverse`` of each walk.

    Returns:
        The tokens at the positions, ``[B, .]``, and for each walk its tokens with the walk, in the layout the backend prefers.
    """
    return backend_for(tokens).walks_from(tokens, position, directions)


def _check_shapes(x: Tensor, delta: Tensor, A: Tensor, D: Tensor, **more: tuple[Tensor, tuple[int, ...]]) -> None:
    """Raise ValueError for shapes that do not fit: the kernels would read other memory."""
    channels = x.shape[-1]
    expected = {"delta": (delta, x.shape), "A": (A, (channels, A.shape[-1])), "D": (D, (channels,)), **more}
    for name, (tensor, shape) in expected.items():
        if tensor.shape != torch.Size(shape):
            raise ValueError(f"{name} has shape {list(tensor.shape)}, with x {list(x.shape)} it must be {list(shape)}")
