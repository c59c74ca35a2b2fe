"""Convolutions of every channel through the frequency domain, with backward passes made of real FFTs.

PyTorch's own gradient of ``rfft`` runs complex FFTs over all ``L`` frequencies, four times the work.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_echomamba.ops import traceable


def spectral_filter(x: Tensor, weight: Tensor) -> Tensor:
    """Compute ``irfft(rfft(x) * W)`` along the slots: a circular convolution over all of them.

    Args:
        x: ``[B, L, d]``.
        weight: ``[L // 2 + 1, d, 2]``, real and imaginary part of ``W``.

    Returns:
        ``[B, L, d]`` in the dtype of ``x``; half precision is computed in float32, which FFTs need.
    """
    if torch.compiler.is_exporting():
        return traceable.convolve(x, traceable.kernel_of(weight, x.shape[1]), period=x.shape[1])
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return _SpectralFilter.apply(x.to(wide), weight.to(wide)).to(x.dtype)


def causal_spectral_filter(x: Tensor, weight: Tensor, length: int) -> Tensor:
    """Convolve each slot with the slots before it, by the kernel ``irfft(W)`` of :func:`spectral_filter`.

    At the last item of a right-padded history both filters give the same; at earlier items the circular one also reads later
    slots, this one does not. Zero padding to about twice the slots keeps the convolution from wrapping around.

    Args:
        x: ``[B, l, d]`` with ``l <= length``.
        weight: ``[length // 2 + 1, d, 2]``, real and imaginary part of ``W``.
        length: number of slots the filter was made for.

    Returns:
        ``[B, l, d]`` in the dtype of ``x``; half precision is computed in float32.
    """
    if torch.compiler.is_exporting():
        return traceable.convolve(x, traceable.kernel_of(weight, length)[: x.shape[1]], period=2 * x.shape[1])
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    kernel = torch.fft.irfft(torch.view_as_complex(weight.to(wide)), n=length, dim=0)[: x.shape[1]]
    return _CausalConvolution.apply(x.to(wide), kernel).to(x.dtype)


class _SpectralFilter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        spectrum = _rfft(x)
        ctx.save_for_backward(spectrum, weight)
        ctx.length = x.shape[1]
        return _irfft(spectrum * torch.view_as_complex(weight), ctx.length)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        spectrum, weight = ctx.saved_tensors
        gradient = _rfft(dout)
        dx = _irfft(gradient * torch.view_as_complex(weight).conj(), ctx.length)
        dweight = torch.view_as_real((spectrum.conj() * gradient).sum(0))
        # every frequency but the first, and the middle one of an even length, stands for its mirror image as well
        dweight[1 : (ctx.length + 1) // 2] *= 2
        return dx, dweight


class _CausalConvolution(torch.autograd.Function):
    """``out_t = sum_s kernel_s x_{t-s}``: ``x [B, l, d]``, ``kernel [l, d]``."""

    @staticmethod
    def forward(ctx, x, kernel):
        ctx.length = x.shape[1]
        ctx.padded = fast_length(2 * ctx.length - 1)
        spectrum, response = (torch.fft.rfft(part, n=ctx.padded, dim=-2) for part in (x, kernel))
        ctx.save_for_backward(spectrum, response)
        return torch.fft.irfft(spectrum * response, n=ctx.padded, dim=1)[:, : ctx.length]

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        spectrum, response = ctx.saved_tensors
        gradient = torch.fft.rfft(dout, n=ctx.padded, dim=1)
        dx = torch.fft.irfft(gradient * response.conj(), n=ctx.padded, dim=1)[:, : ctx.length]
        dkernel = torch.fft.irfft((spectrum.conj() * gradient).sum(0), n=ctx.padded, dim=0)[: ctx.length]
        return dx, dkernel


@functools.cache
def fast_length(least: int) -> int:
    """Return the first even number from ``least`` on without a prime factor above 5; others are up to three times slower."""
    length = least + least % 2
    while _without_small_factors(length) > 1:
        length += 2
    return length


def _without_small_factors(number: int) -> int:
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number


def _rfft(signal: Tensor) -> Tensor:
    return torch.fft.rfft(signal, dim=1, norm="ortho")


def _irfft(spectrum: Tensor, length: int) -> Tensor:
    return torch.fft.irfft(spectrum, n=length, dim=1, norm="ortho")
