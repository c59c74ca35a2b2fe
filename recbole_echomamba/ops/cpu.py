"""The selective scan on a CPU: Numba kernels as autograd functions, float32 and float64.

Rows are cut into ranges that depend on the batch alone and are handed to as many threads as torch uses, so the number of
threads does not change a result. Nothing of size ``B * L * D * N`` is kept; the backward pass recomputes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from recbole_echomamba.ops import cpu_kernels as kernels

LOG2E = 1.4426950408889634
RANGES = 32

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def selective_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False
) -> Tensor:
    """See :func:`recbole_echomamba.ops.reference.selective_scan`."""
    rows, length, channels = x.shape
    walk = padded_walk(torch.full((rows,), 0 if reverse else length - 1), length, not reverse)
    flat = (x.reshape(-1, channels), delta.reshape(-1, channels), A, B.reshape(-1, B.shape[-1]), C.reshape(-1, C.shape[-1]))
    return _computed_in_float(_Scan, x.dtype, *flat, D, *walk).view(x.shape)


def selective_scan_at(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, position: Tensor, reverse: bool = False
) -> Tensor:
    """See :func:`recbole_echomamba.ops.reference.selective_scan_at`."""
    _, length, channels = x.shape
    walk = padded_walk(position, length, reverse)
    flat = (x.reshape(-1, channels), delta.reshape(-1, channels), A, B.reshape(-1, B.shape[-1]), C_at)
    return _computed_in_float(_ScanAt, x.dtype, *flat, D, *walk)


def padded_walk(position: Tensor, length: int, reverse: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``start, count, step`` per row of walks away from ``position [B]`` in a padded batch of ``length`` slots."""
    position = position.numpy().astype(np.int64)
    start = np.arange(len(position)) * length + position
    count = length - position if reverse else position + 1
    return start, count, np.full(len(position), 1 if reverse else -1)


def _computed_in_float(function, dtype, *arguments):
    """Half precision inputs (autocast) are computed in float32; the result has the dtype that came in."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    arguments = [a.to(wide) if isinstance(a, Tensor) else a for a in arguments]
    return function.apply(*arguments).to(dtype)


class _ScanAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, A, B, C_at, D, start, count, step):
        walk = (start, count, step)
        inputs = _arrays(x, delta, (A * LOG2E).T, B, C_at, D)
        y = x.new_empty(len(start), x.shape[1])
        in_ranges(kernels.scan_at, len(start), *walk, *inputs, y.numpy())
        ctx.walk = walk
        ctx.save_for_backward(x, delta, A, B, C_at, D)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, delta, A, B, C_at, D = ctx.saved_tensors
        # tokens outside every walk keep a gradient of zero
        dx, ddelta, dB, dC_at = (torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (x, delta, B, C_at))
        dA, dD = _per_range(ctx.walk, A, D)
        inputs = _arrays(x, delta, (A * LOG2E).T, B, C_at, D, dy, dx, ddelta, dB, dC_at)
        in_ranges(kernels.scan_at_backward, len(dy), *ctx.walk, *inputs, shared=(dA, dD))
        return dx, ddelta, *_summed((dA, dD), (A, D), dB, dC_at), None, None, None


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, A, B, C, D, start, count, step):
        # a walk starts where its reading starts: the mirror image of a walk away from the read-out position
        walk = (start + (count - 1) * step, count, -step)
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        in_ranges(kernels.scan, len(start), *walk, *_arrays(x, delta, (A * LOG2E).T, B, C, D), y.numpy())
        ctx.walk = walk
        ctx.save_for_backward(x, delta, A, B, C, D)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, delta, A, B, C, D = ctx.saved_tensors
        dx, ddelta, dB, dC = (torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (x, delta, B, C))
        dA, dD = _per_range(ctx.walk, A, D)
        inputs = _arrays(x, delta, (A * LOG2E).T, B, C, D, dy, dx, ddelta, dB, dC)
        in_ranges(kernels.scan_backward, len(ctx.walk[0]), *ctx.walk, *inputs, shared=(dA, dD))
        return dx, ddelta, *_summed((dA, dD), (A, D), dB, dC), None, None, None


def in_ranges(kernel, rows: int, *arguments, shared: tuple[np.ndarray, ...] = ()) -> None:
    """Run ``kernel(first, last, *arguments, *share)`` over ranges of rows on torch's number of threads.

    ``shared`` arrays have one slice per range (:func:`range_bounds`), so that no two threads add to the same memory.
    """
    bounds = range_bounds(rows)

    def one(index):
        kernel(bounds[index], bounds[index + 1], *arguments, *(array[index] for array in shared))

    threads = torch.get_num_threads()
    if threads == 1 or len(bounds) == 2:
        for index in range(len(bounds) - 1):
            one(index)
        return
    for _ in _executor(threads).map(one, range(len(bounds) - 1)):
        pass


def range_bounds(rows: int) -> np.ndarray:
    """Where the ranges of a batch of ``rows`` begin and end; at most ``RANGES`` of them, however many threads there are."""
    return np.linspace(0, rows, min(rows, RANGES) + 1).astype(np.int64)


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size != threads:
        _pool, _pool_size = ThreadPoolExecutor(threads, "selective-scan"), threads
    return _pool


def _per_range(walk, *parameters):
    ranges = len(range_bounds(len(walk[0]))) - 1
    return [np.zeros((ranges, *p.shape[::-1]), np.float64) for p in parameters]


def _summed(shares, parameters, *between):
    (dA, dD), (A, D) = shares, parameters
    dA = torch.from_numpy(dA.sum(0)).T.to(A.dtype)
    return dA, *between, torch.from_numpy(dD.sum(0)).to(D.dtype)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
