"""The selective scan and the convolution before it on a CPU: Numba kernels as autograd functions, float32 and float64.

Rows are cut into ranges that depend on the batch alone and are handed to as many threads as torch uses, so the number of
threads does not change a result. Nothing of size ``B * L * D * N`` is kept; the backward pass recomputes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from recbole_echomamba.ops import cpu_convolution, cpu_kernels
from recbole_echomamba.ops.cpu_math import LOG2E
from recbole_echomamba.ops.walk import Walk

RANGES = 32

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def selective_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False
) -> Tensor:
    """See :func:`recbole_echomamba.ops.reference.selective_scan`."""
    walk = Walk.over_all(x.shape[0], x.shape[1], x.device, reverse)
    return _in_float(_Scan, x.dtype, _flat(x), _flat(delta), A, _flat(B), _flat(C), D, walk).view(x.shape)


def scan_at(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, walk: Walk) -> Tensor:
    """See :func:`recbole_echomamba.ops.scan_at`."""
    return _in_float(_ScanAt, x.dtype, _flat(x), _flat(delta), A, _flat(B), C_at, D, walk)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor, walk: Walk) -> Tensor:
    """See :func:`recbole_echomamba.ops.conv_silu`."""
    return _in_float(_ConvSilu, x.dtype, _flat(x), weight.squeeze(1).T, bias, walk).view(x.shape)


def pack(tokens: Tensor, walk: Walk) -> Tensor:
    """``[B, L, .]`` to the packed ``[P, .]`` of a walk."""
    return _Pack.apply(tokens, walk)


def _flat(tokens: Tensor) -> Tensor:
    return tokens.reshape(-1, tokens.shape[-1])


def _in_float(function, dtype, *arguments):
    """Half precision inputs (autocast) are computed in float32; the result has the dtype that came in."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    arguments = [a.to(wide) if isinstance(a, Tensor) else a for a in arguments]
    return function.apply(*arguments).to(dtype)


class _ScanAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, A, B, C_at, D, walk):
        y = x.new_empty(len(walk.start), x.shape[1])
        inputs = _arrays(x, delta, (A * LOG2E).T, B, C_at, D, y)
        in_ranges(cpu_kernels.scan_at, len(y), walk.start, walk.count, walk.step, *inputs)
        ctx.walk = walk
        ctx.save_for_backward(x, delta, A, B, C_at, D)
        return y

    @staticmethod
    def backward(ctx, dy):
        return _scan_gradients(cpu_kernels.scan_at_backward, ctx, dy)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, A, B, C, D, walk):
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        inputs = _arrays(x, delta, (A * LOG2E).T, B, C, D, y)
        in_ranges(cpu_kernels.scan, len(walk.start), *_reading(walk), *inputs)
        ctx.walk = walk
        ctx.save_for_backward(x, delta, A, B, C, D)
        return y

    @staticmethod
    def backward(ctx, dy):
        return _scan_gradients(cpu_kernels.scan_backward, ctx, dy)


class _ConvSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, walk):
        out = torch.zeros_like(x, memory_format=torch.contiguous_format)
        arrays = _arrays(x, weight, bias, out)
        in_ranges(cpu_convolution.conv_silu, len(walk.start), walk.start, walk.count, walk.step, *arrays)
        ctx.walk = walk
        ctx.save_for_backward(x, weight, bias)
        return out

    @staticmethod
    def backward(ctx, dout):
        x, weight, bias = ctx.saved_tensors
        walk = ctx.walk
        dx = torch.zeros_like(x, memory_format=torch.contiguous_format)
        shares = [_shares(len(walk.start), parameter.shape) for parameter in (weight, bias)]
        arrays = _arrays(x, weight, bias, dout, dx)
        kernel = cpu_convolution.conv_silu_backward
        in_ranges(kernel, len(walk.start), walk.start, walk.count, walk.step, *arrays, shared=shares)
        return dx, *(torch.from_numpy(share.sum(0)).to(x.dtype) for share in shares), None


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tokens, walk):
        ctx.walk, ctx.shape = walk, tokens.shape
        packed = tokens.new_empty(len(walk.index), tokens.shape[-1])
        source, target = _arrays(_flat(tokens), packed)
        in_ranges(cpu_convolution.copy_rows, len(packed), source, walk.index, target)
        return packed

    @staticmethod
    def backward(ctx, dpacked):
        dtokens = dpacked.new_zeros(ctx.shape)
        source, target = _arrays(dpacked, _flat(dtokens))
        in_ranges(cpu_convolution.spread_rows, len(dpacked), source, ctx.walk.index, target)
        return dtokens, None


def _scan_gradients(kernel, ctx, dy):
    x, delta, A, B, C, D = ctx.saved_tensors
    walk = ctx.walk
    way = (walk.start, walk.count, walk.step) if kernel is cpu_kernels.scan_at_backward else _reading(walk)
    # tokens outside every walk keep a gradient of zero
    gradients = [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (x, delta, B, C)]
    dA, dD = _shares(len(walk.start), A.T.shape), _shares(len(walk.start), D.shape)
    arrays = _arrays(x, delta, (A * LOG2E).T, B, C, D, dy, *gradients)
    in_ranges(kernel, len(walk.start), *way, *arrays, shared=(dA, dD))
    dx, ddelta, dB, dC = gradients
    dA, dD = torch.from_numpy(dA.sum(0)).T.to(A.dtype), torch.from_numpy(dD.sum(0)).to(D.dtype)
    return dx, ddelta, dA, dB, dC, dD, None


def _reading(walk: Walk):
    """The full scan reads towards the position: the walk from its far end."""
    return walk.start + (walk.count - 1) * walk.step, walk.count, -walk.step


def in_ranges(kernel, rows: int, *arguments, shared=()) -> None:
    """Run ``kernel(first, last, *arguments, *share)`` over ranges of rows on torch's number of threads.

    ``shared`` arrays have one slice per range, so that no two threads add to the same memory.
    """
    bounds = _bounds(rows)

    def one(index):
        kernel(bounds[index], bounds[index + 1], *arguments, *(array[index] for array in shared))

    threads = torch.get_num_threads()
    if threads == 1 or len(bounds) == 2:
        for index in range(len(bounds) - 1):
            one(index)
        return
    for _ in _executor(threads).map(one, range(len(bounds) - 1)):
        pass


def _bounds(rows: int) -> np.ndarray:
    """Where the ranges of a batch begin and end; at most ``RANGES`` of them, however many threads there are."""
    return np.linspace(0, rows, min(rows, RANGES) + 1).astype(np.int64)


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size != threads:
        _pool, _pool_size = ThreadPoolExecutor(threads, "selective-scan"), threads
    return _pool


def _shares(rows: int, shape) -> np.ndarray:
    return np.zeros((len(_bounds(rows)) - 1, *shape), np.float64)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
