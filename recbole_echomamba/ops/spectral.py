"""A circular convolution of every channel through the frequency domain, with a backward pass of two real FFTs.

PyTorch's own gradient of ``rfft`` runs complex FFTs over all ``L`` frequencies, four times the work.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def spectral_filter(x: Tensor, weight: Tensor) -> Tensor:
    """``irfft(rfft(x) * W)`` along the slots, both orthonormal.

    Args:
        x: ``[B, L, d]``. weight: ``[L // 2 + 1, d, 2]``, real and imaginary part of ``W``.

    Returns:
        ``[B, L, d]`` in the dtype of ``x``; half precision is computed in float32, which FFTs need.
    """
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return _SpectralFilter.apply(x.to(wide), weight.to(wide)).to(x.dtype)


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


def _rfft(signal: Tensor) -> Tensor:
    return torch.fft.rfft(signal, dim=1, norm="ortho")


def _irfft(spectrum: Tensor, length: int) -> Tensor:
    return torch.fft.irfft(spectrum, n=length, dim=1, norm="ortho")
