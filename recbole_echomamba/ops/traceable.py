"""The operations for ``torch.export``: no loop over rows or over all slots, and matrix products for Fourier transforms.

An exported program of them contains neither ``Loop`` nor ``Scan`` nor complex numbers. :mod:`recbole_echomamba.ops.dispatch`
chooses this module while a program is traced; gradients are autograd's.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_echomamba.ops.reference import conv_silu, dropout_norm, scan_rows_at, step_sizes, walks_from
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

    The slots are cut into ``G`` chunks of :data:`CHUNK`. All chunks are scanned at once, each from a state of zero. Then the last
    states of the chunks are summed with their decay, and each chunk gets the state in which the chunk before it ends.
    """
    by_slot = [
        _cut_in_chunks(tokens, reverse)
        for tokens in (delta[..., None], (delta * x)[..., None], B[:, :, None], C[..., None])
    ]
    states, decays = [], []
    for delta_t, u_t, B_t, _ in zip(*by_slot, strict=True):
        state, decay = u_t * B_t, torch.exp(delta_t * A)
        if states:
            state, decay = state + decay * states[-1], decay * decays[-1]
        states.append(state)
        decays.append(decay)
    before = _shift(_sum_with_decay(states[-1], decays[-1]), 1)
    y = [(state + decay * before) @ C_t for state, decay, C_t in zip(states, decays, by_slot[-1], strict=True)]
    out = torch.cat(y, 2).flatten(1, 2)[:, : x.shape[1], :, 0]
    return (out.flip(1) if reverse else out) + D * x


def scan_at(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, walk: Walk) -> Tensor:
    """See :func:`.reference.scan_at`; all rows are computed at once."""
    return scan_rows_at(x, delta, B, C_at, walk.position, A, D, walk.reverse)


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


def _sum_with_decay(state: Tensor, decay: Tensor) -> Tensor:
    """Sum states ``[B, G, 1, D, N]`` along the second axis, each decayed by the factors after it.

    After ``k`` steps a state holds the sum over the ``2^k`` that end at its own place, and a decay their product.
    """
    width = 1
    while width < state.shape[1]:
        state = state + decay * _shift(state, width)
        decay = decay * _shift(decay, width)
        width *= 2
    return state


def _shift(states: Tensor, places: int) -> Tensor:
    """Move states ``[B, G, 1, D, N]`` along the second axis; zeros come in."""
    return F.pad(states[:, :-places], (0, 0, 0, 0, 0, 0, places, 0))


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
