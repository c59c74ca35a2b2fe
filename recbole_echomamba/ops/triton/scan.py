"""The selective scan on a GPU: Triton kernels as autograd functions, float32 and bfloat16 inputs, float32 states.

Tokens stay padded: the packed size would have to be fetched from the GPU, which stalls it. What surrounds the scan is left
to PyTorch. With ``TRITON_INTERPRET=1``, set before the first import, the kernels run on a CPU, slowly, for tests.
"""

from __future__ import annotations

import math

import torch
import triton  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_echomamba.ops.triton import kernels
from recbole_echomamba.ops.walk import Walk

K_AT, K_SCAN = 4, 16
"""Steps a program takes at once; the full scan keeps one state in ``K_SCAN`` for the backward pass."""

TILE = 8192
"""Entries of a tile ``[K, BLOCK_D, BLOCK_N]``: 32 registers in each of 256 threads."""


def selective_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False
) -> Tensor:
    """See :func:`.reference.selective_scan`."""
    return _Scan.apply(x, delta, A, B, C, D, reverse)


def scan_at(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, walk: Walk) -> Tensor:
    """See :func:`recbole_echomamba.ops.scan_at`."""
    return _ScanAt.apply(x, delta, A, B, C_at, D, walk.position, walk.reverse)


class _ScanAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, A, B, C_at, D, position, reverse):
        x, delta, B, C_at, D = (tensor.contiguous() for tensor in (x, delta, B, C_at, D))
        ctx.save_for_backward(x, delta, A, B, C_at, D, position)
        ctx.reverse = reverse
        batch, length, channels = x.shape
        y = torch.empty_like(x[:, 0], memory_format=torch.contiguous_format)
        grid, sizes = _layout(batch, channels, A.shape[1], K_AT)
        kernels.scan_at[grid](
            x, delta, _base2(A), B, C_at, D, position, y, length, channels, A.shape[1], REVERSE=reverse, **sizes
        )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, delta, A, B, C_at, D, position = ctx.saved_tensors
        batch, length, channels = x.shape
        states = A.shape[1]
        dy = dy.contiguous()
        grid, sizes = _layout(batch, channels, states, K_AT)
        dinput, dpassed = (torch.empty_like(x, dtype=torch.float32) for _ in range(2))
        dA, dB, dC_at = _shares(grid[1], A, B, C_at, zeros=True)
        kernels.scan_at_backward[grid](
            x, delta, _base2(A), B, C_at, dy, position, dinput, dpassed, dA, dB, dC_at,
            batch, length, channels, states, REVERSE=ctx.reverse, **sizes,
        )  # fmt: skip
        # slots off the walk get no gradient
        dx, ddelta = torch.zeros_like(x), torch.zeros_like(delta)
        block = min(64, triton.next_power_of_2(channels))
        kernels.scan_at_finish[(batch, triton.cdiv(channels, block))](
            x, delta, D, dy, position, dinput, dpassed, dx, ddelta, length, channels,
            REVERSE=ctx.reverse, K=16, BLOCK_D=block,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        x_at = x[torch.arange(batch, device=x.device), position]
        dD = (dy.float() * x_at.float()).sum(0)
        return dx, ddelta, *_summed(dA, dB, dC_at, like=(A, B, C_at)), dD.to(D.dtype), None, None


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, A, B, C, D, reverse):
        x, delta, B, C, D = (tensor.contiguous() for tensor in (x, delta, B, C, D))
        batch, length, channels = x.shape
        states, chunks = A.shape[1], triton.cdiv(length, K_SCAN)
        y = torch.empty_like(x)
        kept = x.new_empty(batch, chunks, channels, states, dtype=torch.float32)
        grid, sizes = _layout(batch, channels, states, K_SCAN)
        kernels.scan[grid](
            x, delta, _base2(A), B, C, D, y, kept, length, channels, states, chunks, REVERSE=reverse, **sizes
        )
        ctx.save_for_backward(x, delta, A, B, C, D, kept)
        ctx.reverse = reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, delta, A, B, C, D, kept = ctx.saved_tensors
        batch, length, channels = x.shape
        dy = dy.contiguous()
        grid, sizes = _layout(batch, channels, A.shape[1], K_SCAN)
        dx, ddelta = torch.empty_like(x), torch.empty_like(delta)
        dA, dB, dC = _shares(grid[1], A, B, C)
        kernels.scan_backward[grid](
            x, delta, _base2(A), B, C, D, dy, kept, dx, ddelta, dA, dB, dC,
            batch, length, channels, A.shape[1], kept.shape[1], REVERSE=ctx.reverse, **sizes,
        )  # fmt: skip
        dD = (dy.float() * x.float()).sum((0, 1))
        return dx, ddelta, *_summed(dA, dB, dC, like=(A, B, C)), dD.to(D.dtype), None


def _layout(batch: int, channels: int, states: int, steps: int):
    """The grid, and the sizes of a tile; powers of two, as Triton wants them."""
    block_n = triton.next_power_of_2(states)
    block_d = min(triton.next_power_of_2(channels), max(1, TILE // (steps * block_n)))
    grid = batch, int(triton.cdiv(channels, block_d))
    return grid, {"K": steps, "BLOCK_D": block_d, "BLOCK_N": block_n, "num_warps": 8}


def _base2(A: Tensor) -> Tensor:
    return (A.float() * math.log2(math.e)).contiguous()


def _shares(blocks: int, A: Tensor, B: Tensor, C: Tensor, zeros: bool = False) -> list[Tensor]:
    """Memory for a gradient of ``A`` per row, and of ``B`` and ``C`` per block of channels."""
    make = B.new_zeros if zeros else B.new_empty
    return [make(shape, dtype=torch.float32) for shape in ((len(B), *A.shape), (blocks, *B.shape), (blocks, *C.shape))]


def _summed(*shares: Tensor, like: tuple[Tensor, ...]) -> list[Tensor]:
    return [share.sum(0).to(tensor.dtype) for share, tensor in zip(shares, like, strict=True)]
