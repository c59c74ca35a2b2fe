"""The selective scan in plain PyTorch: the definition that every other backend is tested against.

Selective state space of Mamba-1 (Gu & Dao, arXiv 2312.00752, eq. 2 with the discretisation of section 3.3:
zero-order hold for ``A``, Euler for ``B``)::

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t
    y_t = C_t h_t + D x_t

Glossary: ``x`` input, ``delta`` step size (after softplus), ``A`` state decay (negative), ``B`` input gate, ``C`` output
gate, ``D`` skip; sizes ``B`` batch, ``L`` length, ``D`` channels, ``N`` states per channel.

Any floating dtype, any device, differentiable. Memory is bounded: the batch is cut into chunks whose ``[b, L, D, N]``
temporaries stay under ``CHUNK_BYTES`` and are recomputed in the backward pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recbole_echomamba.ops.walk import Walk

CHUNK_BYTES = 256 * 2**20


def selective_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False
) -> Tensor:
    """Run the recurrence over every position.

    Args:
        x, delta: ``[B, L, D]``; ``delta`` is positive.
        A: ``[D, N]``.
        B, C: ``[B, L, N]``.
        D: ``[D]``.
        reverse: walk from the last slot to the first.

    Returns:
        ``y`` of shape ``[B, L, D]``.
    """
    return _in_batch_chunks(_scan, (x, delta, B, C), (A, D), _chunk_rows(x, A), reverse)


def scan_at(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, walk: Walk) -> Tensor:
    """Run the recurrence and return one position of each row; only the positions that reach it are used.

    Unrolled, ``y_T = sum_t (delta_t x_t) sum_n C_T[n] B_t[n] exp(A[n] s_t) + D x_T`` where ``s_t`` is the delta passed
    between ``t`` and ``T``. ``s`` is accumulated walking away from ``T``: differences of one global running sum would
    cancel.

    Args:
        x, delta: ``[B, L, D]``.
        A: ``[D, N]``.
        B: ``[B, L, N]``.
        C_at: ``[B, N]``.
        D: ``[D]``.
        walk: padded; ``0..T`` of each row, or ``T..L-1`` when it is reversed.

    Returns:
        ``y`` of shape ``[B, D]``.
    """
    return _in_batch_chunks(scan_rows_at, (x, delta, B, C_at, walk.position), (A, D), _chunk_rows(x, A), walk.reverse)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor, walk: Walk) -> tuple[Tensor, Tensor]:
    """Convolve every channel causally along the walk, then apply SiLU.

    Args:
        x: ``[B, L, D]``, padded.
        weight: ``[D, 1, K]``, the last tap on the slot itself.
        bias: ``[D]``.
        walk: padded; when it is reversed the slots are read from the last to the first.

    Returns:
        All tokens ``[B, L, D]``, and those at the positions ``[B, D]``.
    """
    taps = weight.shape[-1]
    padding = (0, taps - 1) if walk.reverse else (taps - 1, 0)
    weight = weight.flip(-1) if walk.reverse else weight
    out = F.silu(F.conv1d(F.pad(x.transpose(1, 2), padding), weight, bias, groups=len(weight)).transpose(1, 2))
    return out, walk.at(out)


def step_sizes(dt: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute ``softplus(dt W^T + b)``, positive.

    Args:
        dt: ``[..., R]``.
        weight: ``[D, R]``.
        bias: ``[D]``.

    Returns:
        ``[..., D]``.
    """
    return F.softplus(F.linear(dt, weight, bias))


def walks_from(
    tokens: Tensor, position: Tensor, directions: tuple[bool, ...]
) -> tuple[Tensor, list[tuple[Tensor, Walk]]]:
    """See :func:`recbole_echomamba.ops.walks_from`; the layout is padded, nothing is copied."""
    walks = [Walk(position, tokens.shape[1], reverse) for reverse in directions]
    return walks[0].at(tokens), [(tokens, walk) for walk in walks]


def dropout_norm(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, p: float, eps: float) -> Tensor:
    """Compute ``LN(Dropout(x) + residual)`` over the last axis, ``[..., d] -> [..., d]``; ``p`` is 0 outside training."""
    x = F.dropout(x, p)
    return F.layer_norm(x if residual is None else x + residual, weight.shape, weight, bias, eps)


def _scan(x, delta, B, C, A, D, reverse):
    h = x.new_zeros(x.shape[0], x.shape[2], A.shape[1])
    y = []
    # unbound once: the backward pass of indexing slot by slot would fill a whole gradient for each, O(L^2) in all
    slots = list(zip(*(tensor.unbind(1) for tensor in (delta, delta * x, B, C)), strict=True))
    for delta_t, u_t, B_t, C_t in reversed(slots) if reverse else slots:
        h = torch.exp(delta_t[..., None] * A) * h + u_t[..., None] * B_t[:, None]
        y.append((h * C_t[:, None]).sum(-1))
    return torch.stack(y[::-1] if reverse else y, 1) + D * x


def scan_rows_at(
    x: Tensor, delta: Tensor, B: Tensor, C_at: Tensor, position: Tensor, A: Tensor, D: Tensor, reverse: bool
) -> Tensor:
    """Compute :func:`scan_at` for all rows at once, with temporaries of ``[B, L, N, D]``."""
    slots = torch.arange(x.shape[1], device=x.device)
    walked = (slots >= position[:, None]) if reverse else (slots <= position[:, None])
    delta = delta * walked[..., None]
    passed = _exclusive_sum_from_position(delta, reverse)
    gates = B * C_at[:, None]
    weight = (gates[:, :, None] @ torch.exp(passed[:, :, None] * A.T)).squeeze(2)
    x_at = x[torch.arange(x.shape[0], device=x.device), position]
    return (delta * x * weight).sum(1) + D * x_at


def _exclusive_sum_from_position(delta: Tensor, reverse: bool) -> Tensor:
    """Compute the delta between each slot and the read-out position, the slot's own left out: ``[B, L, D]``.

    Slots outside the walk have delta 0, so a running sum that enters from their side starts at the position itself.
    For the forward direction slot ``t`` passes ``delta_{t+1} .. delta_T``; for the reverse one ``delta_T .. delta_{t-1}``.
    """
    if not reverse:
        delta = delta.flip(1)
    passed = torch.cat([torch.zeros_like(delta[:, :1]), delta.cumsum(1)[:, :-1]], 1)
    return passed if reverse else passed.flip(1)


def _chunk_rows(x: Tensor, A: Tensor) -> int:
    # decay, state, input and product live at once under autograd
    row = x.shape[1] * A.numel() * x.element_size() * 4
    return max(1, CHUNK_BYTES // row)


def _in_batch_chunks(function, per_row, shared, rows, reverse):
    out = []
    for start in range(0, len(per_row[0]), rows):
        chunk = [tensor[start : start + rows] for tensor in per_row]
        out.append(checkpoint(function, *chunk, *shared, reverse, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(out)
