"""The operations for ``torch.export``: no loop over rows or over all slots, and matrix products for Fourier transforms.

An exported program of them contains neither ``Loop`` nor ``Scan`` nor complex numbers. :mod:`recbole_echomamba.ops.dispatch`
chooses this module while a program is traced; gradients are autograd's.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_echomamba.ops.reference import conv_silu, dropout_norm, scan_rows_at, walks_from
from recbole_echomamba.ops.walk import Walk

__all__ = [
    "conv_silu",
    "convolve",
    "dropout_norm",
    "kernel_of",
    "scan_at",
    "selective_scan",
    "step_sizes",
    "walks_from",
]

CHUNK = 8
"""Slots that are scanned one after the other."""


def selective_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False
) -> Tensor:
    """See :func:`.reference.selective_scan`.

    The slots are cut into ``G`` chunks of :data:`CHUNK`. All chunks are scanned at once, each from a state of zero. Then the
    states in which the chunks end are summed with their decay, chunk after chunk, and the state before each chunk decays through
    it.
    """
    # states are [B, G, 1, N, D]: channels innermost, as onnxruntime multiplies fastest
    deltas, inputs, B_by_slot, C_by_slot = (
        _cut_in_chunks(tokens, reverse)
        for tokens in (delta[:, :, None], (delta * x)[:, :, None], B[..., None], C[:, :, None])
    )
    decays = [torch.exp(delta_t * A.T) for delta_t in deltas]
    states: list[Tensor] = []
    for decay, u_t, B_t in zip(decays, inputs, B_by_slot, strict=True):
        added = u_t * B_t
        states.append(decay * states[-1] + added if states else added)
    carried = _states_before(states[-1], torch.exp(sum(deltas) * A.T))
    y = []
    for state, decay, C_t in zip(states, decays, C_by_slot, strict=True):
        carried = decay * carried
        y.append(C_t @ state + C_t @ carried)
    out = torch.cat(y, 2).flatten(1, 2)[:, : x.shape[1], 0]
    return (out.flip(1) if reverse else out) + D * x


def scan_at(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, walk: Walk) -> Tensor:
    """See :func:`.reference.scan_at`; all rows are computed at once."""
    return scan_rows_at(x, delta, B, C_at, walk.position, A, D, walk.reverse)


def step_sizes(dt: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See :func:`.reference.step_sizes`; onnxruntime takes four times as long for ONNX's ``Softplus``."""
    a = F.linear(dt, weight, bias)
    u = torch.exp(-a.abs())
    rounded = 1 + u
    # log(1 + u), with a correction for what is lost of a small u when one is added
    return a.clamp(min=0) + rounded.log() - ((rounded - 1) - u) / rounded


def kernel_of(weight: Tensor, length: int) -> Tensor:
    """Compute ``irfft(W)``, ``[length, d]``, of a filter ``[length // 2 + 1, d, 2]``."""
    return _irfft(torch.cat(weight.unbind(-1)), length, length)


def convolve(x: Tensor, kernel: Tensor, period: int) -> Tensor:
    """Convolve every channel of ``x [B, l, d]`` with ``kernel [l, d]``, circularly over ``period`` slots; ``[B, l, d]``."""
    transform = _fourier_matrix(period, x.shape[1], x.dtype)
    real, imaginary = (transform @ x).chunk(2, dim=-2)
    kernel_real, kernel_imaginary = (transform @ kernel).chunk(2, dim=-2)
    product = [
        real * kernel_real - imaginary * kernel_imaginary,
        real * kernel_imaginary + imaginary * kernel_real,
    ]
    return _irfft(torch.cat(product, dim=-2), period, x.shape[1])


def _irfft(spectrum: Tensor, period: int, slots: int) -> Tensor:
    """Compute the first slots of ``irfft``, ``[..., 2 F, d] -> [..., slots, d]``, see :func:`_fourier_matrix`."""
    transform = _fourier_matrix(period, slots, spectrum.dtype)
    return transform.T @ (spectrum * _mirror_shares(period, spectrum.dtype))


def _cut_in_chunks(tokens: Tensor, reverse: bool) -> tuple[Tensor, ...]:
    """Cut ``[B, L, ., .]`` into chunks along the walk; return their first slots ``[B, G, 1, ., .]``, their second ones, ..."""
    # what fills the last chunk up comes after every slot of the walk
    padding = (0, 0, 0, 0, 0, -tokens.shape[1] % CHUNK)
    chunks = F.pad(tokens.flip(1) if reverse else tokens, padding).unflatten(1, (-1, CHUNK))
    return chunks.split(1, dim=2)


def _states_before(ends: Tensor, decays: Tensor) -> Tensor:
    """Return the state before each chunk, ``[B, G, 1, N, D]``.

    Args:
        ends: ``[B, G, 1, N, D]``, the state in which each chunk ends that starts from zero.
        decays: ``[B, G, 1, N, D]``, the factor by which a chunk multiplies the state before it.
    """
    before = [torch.zeros_like(ends[:, :1])]
    for end, decay in zip(ends.split(1, dim=1)[:-1], decays.split(1, dim=1)[:-1], strict=True):
        before.append(decay * before[-1] + end)
    return torch.cat(before, 1)


def _fourier_matrix(period: int, slots: int, dtype: torch.dtype) -> Tensor:
    """Return the matrix of ``rfft`` over ``period`` slots, of which only the first ``slots`` differ from zero.

    Returns:
        ``[2 F, slots]`` with ``F = period // 2 + 1``: real parts of all frequencies, then imaginary parts.
    """
    # reduced before it is multiplied by pi, for exact angles
    turns = np.outer(np.arange(period // 2 + 1), np.arange(slots)) % period
    angle = 2 * np.pi / period * turns
    matrix = np.concatenate([np.cos(angle), -np.sin(angle)])

    return torch.from_numpy(matrix.astype(str(dtype).removeprefix("torch.")))


def _mirror_shares(period: int, dtype: torch.dtype) -> Tensor:
    """Return ``[2 F, 1]``: what each frequency counts in ``irfft``, which sums those of :func:`_fourier_matrix` only.

    Every frequency but the first, and the middle one of an even period, stands for its mirror image as well.
    """
    frequency = np.arange(period // 2 + 1)
    share = np.where((frequency == 0) | (2 * frequency == period), 1, 2) / period
    return torch.from_numpy(np.tile(share, 2)[:, None].astype(str(dtype).removeprefix("torch.")))
