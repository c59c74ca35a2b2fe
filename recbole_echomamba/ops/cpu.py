"""The selective scan and the convolution before it on a CPU: Numba kernels as autograd functions, float32 and float64.

Rows are cut into ranges that depend on the batch alone and are handed to as many threads as torch uses, so the number of
threads does not change a result. Nothing of size ``B * L * D * N`` is kept; the backward pass recomputes.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_echomamba.ops import cpu_convolution, cpu_kernels, cpu_norm, cpu_packing, cpu_steps
from recbole_echomamba.ops.cpu_math import LOG2E
from recbole_echomamba.ops.walk import Walk

RANGES = 32

WORTH_A_THREAD = 2**15
"""Entries of the largest array below which handing work to a thread takes longer than doing it."""

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


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor, walk: Walk) -> tuple[Tensor, Tensor]:
    """See :func:`recbole_echomamba.ops.conv_silu`."""
    out, out_at = _in_float(_ConvSilu, x.dtype, _flat(x), weight.squeeze(1).T, bias, walk)
    return out.view(x.shape), out_at


def step_sizes(dt: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See :func:`.reference.step_sizes`."""
    return _in_float(_StepSizes, dt.dtype, _flat(dt), weight.T, bias).view(*dt.shape[:-1], len(bias))


def dropout_norm(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, p: float, eps: float) -> Tensor:
    """See :func:`.reference.dropout_norm`; the seed of the mask comes from torch's generator."""
    seed = int(torch.randint(2**31 - 1, ())) if p else 0
    residual = None if residual is None else _flat(residual)
    return _in_float(_DropoutNorm, x.dtype, _flat(x), residual, weight, bias, seed, p, eps).view(x.shape)


def walks_from(tokens: Tensor, position: Tensor, directions: tuple[bool, ...]) -> tuple[Tensor, list]:
    """See :func:`recbole_echomamba.ops.walks_from`; the tokens of each walk are packed, ``[P, .]``."""
    walks = [Walk(position, tokens.shape[1], reverse, packed=True) for reverse in directions]
    at, *packed = _Pack.apply(tokens, *walks)
    return at, list(zip(packed, walks, strict=True))


def _flat(tokens: Tensor) -> Tensor:
    return tokens.reshape(-1, tokens.shape[-1])


def _in_float(function, dtype, *arguments):
    """Half precision inputs (autocast) are computed in float32; the result has the dtype that came in."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    out = function.apply(*(a.to(wide) if isinstance(a, Tensor) else a for a in arguments))
    return out.to(dtype) if isinstance(out, Tensor) else tuple(tensor.to(dtype) for tensor in out)


class _ScanAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, A, B, C_at, D, walk):
        y = x.new_empty(len(walk.start), x.shape[1])
        inputs = _arrays(x, delta, (A * LOG2E).T, B, C_at, D, y)
        in_ranges(cpu_kernels.scan_at, len(y), walk.start, walk.count, walk.step, *inputs, work=walk.count)
        ctx.walk = walk
        ctx.save_for_backward(x, delta, A, B, C_at, D)
        return y

    @staticmethod
    @once_differentiable
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
    @once_differentiable
    def backward(ctx, dy):
        return _scan_gradients(cpu_kernels.scan_backward, ctx, dy)


class _ConvSilu(torch.autograd.Function):
    """Gives the output at the read-out positions as well, whose gradient would otherwise fill a tensor of its own."""

    @staticmethod
    def forward(ctx, x, weight, bias, walk):
        ctx.set_materialize_grads(False)
        out = _like(x, walk)
        arrays = _arrays(x, weight, bias, out)
        in_ranges(cpu_convolution.conv_silu, len(walk.start), walk.start, walk.count, walk.step, *arrays)
        ctx.walk = walk
        ctx.save_for_backward(x, weight, bias)
        return out, out[torch.from_numpy(walk.start)]

    @staticmethod
    @once_differentiable
    def backward(ctx, dout, dout_at):
        x, weight, bias = ctx.saved_tensors
        walk = ctx.walk
        dx = _like(x, walk)
        dout = torch.zeros_like(x) if dout is None else dout
        dout_at = x.new_zeros(len(walk.start), x.shape[1]) if dout_at is None else dout_at
        shares = [_shares(len(walk.start), parameter.shape) for parameter in (weight, bias)]
        arrays = _arrays(x, weight, bias, dout, dout_at, dx)
        kernel = cpu_convolution.conv_silu_backward
        in_ranges(kernel, len(walk.start), walk.start, walk.count, walk.step, *arrays, shared=shares)
        return dx, *_summed(shares, weight), None


class _StepSizes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dt, weight, bias):
        ctx.save_for_backward(dt, weight, bias)
        delta = dt.new_empty(len(dt), len(bias))
        in_ranges(cpu_steps.step_sizes, len(dt), *_arrays(dt, weight, bias, delta))
        return delta

    @staticmethod
    @once_differentiable
    def backward(ctx, ddelta):
        dt, weight, bias = ctx.saved_tensors
        ddt = torch.empty_like(dt, memory_format=torch.contiguous_format)
        shares = [_shares(len(dt), parameter.shape) for parameter in (weight, bias)]
        in_ranges(cpu_steps.step_sizes_backward, len(dt), *_arrays(dt, weight, bias, ddelta, ddt), shared=shares)
        return ddt, *_summed(shares, weight)


class _DropoutNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, residual, weight, bias, seed, p, eps):
        out, stats = torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty(2, len(x))
        ctx.dropout = (np.int32(seed), np.float32(p), stats.numpy().dtype.type(1 / (1 - p)))
        ctx.has_residual = residual is not None
        residual = x[:0] if residual is None else residual
        ctx.save_for_backward(x, residual, weight, stats)
        arrays = _arrays(x, residual, weight, bias, out, *stats)
        in_ranges(cpu_norm.dropout_norm, len(x), *ctx.dropout, arrays[0].dtype.type(eps), *arrays)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        x, residual, weight, stats = ctx.saved_tensors
        dx, dresidual = (torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, residual))
        shares = [_shares(len(x), weight.shape) for _ in range(2)]
        arrays = _arrays(x, residual, weight, *stats, dout, dx, dresidual)
        in_ranges(cpu_norm.dropout_norm_backward, len(x), *ctx.dropout, *arrays, shared=shares)
        return dx, dresidual if ctx.has_residual else None, *_summed(shares, weight), None, None, None


class _Pack(torch.autograd.Function):
    """``tokens [B, L, .]`` to those at the positions, ``[B, .]``, and those of each walk; one pass for all gradients."""

    @staticmethod
    def forward(ctx, tokens, *walks):
        ctx.set_materialize_grads(False)
        ctx.walks, ctx.shape, ctx.dtype = walks, tokens.shape, tokens.dtype
        tokens = tokens.detach().contiguous()
        packed = [tokens.new_empty(walk.count.sum(), tokens.shape[-1]) for walk in walks]
        for walk, target in zip(walks, packed, strict=True):
            in_ranges(cpu_packing.pack, len(tokens), *_slots(walk), *_arrays(tokens, target))
        return walks[0].at(tokens), *packed

    @staticmethod
    @once_differentiable
    def backward(ctx, dat, *dpacked):
        rows, _, width = ctx.shape
        dtokens = torch.empty(ctx.shape, dtype=ctx.dtype)
        (target,) = _arrays(dtokens)
        missing = dtokens.new_empty(0, width)
        for first, (walk, gradient) in enumerate(zip(ctx.walks, dpacked, strict=True)):
            sources = _arrays(*(missing if g is None else g for g in (gradient, None if first else dat)))
            in_ranges(cpu_packing.unpack, rows, *_slots(walk), *sources, target, first == 0)
        return dtokens, *(None for _ in ctx.walks)


def _scan_gradients(kernel, ctx, dy):
    x, delta, A, B, C, D = ctx.saved_tensors
    walk = ctx.walk
    way = (walk.start, walk.count, walk.step) if kernel is cpu_kernels.scan_at_backward else _reading(walk)
    gradients = [*(_like(tensor, walk) for tensor in (x, delta, B)), torch.empty_like(C)]
    shares = [_shares(len(walk.start), A.T.shape), _shares(len(walk.start), D.shape)]
    arrays = _arrays(x, delta, (A * LOG2E).T, B, C, D, dy, *gradients)
    in_ranges(kernel, len(walk.start), *way, *arrays, shared=shares, work=walk.count)
    dx, ddelta, dB, dC = gradients
    dA, dD = _summed(shares, A)
    return dx, ddelta, dA.T, dB, dC, dD, None


def _like(tokens: Tensor, walk: Walk) -> Tensor:
    """Memory for one value per entry: unset where a kernel writes every token, zero where some lie off the walks."""
    make = torch.empty_like if walk.packed or walk.covers else torch.zeros_like
    return make(tokens, memory_format=torch.contiguous_format)


def _reading(walk: Walk):
    """The full scan reads towards the position: the walk from its far end."""
    return walk.start + (walk.count - 1) * walk.step, walk.count, -walk.step


def in_ranges(kernel, rows: int, *arguments, shared=(), work: np.ndarray | None = None) -> None:
    """Run ``kernel(first, last, *arguments, *share)`` over ranges of rows on torch's number of threads.

    ``shared`` arrays have one slice per range, so that no two threads add to the same memory. ``work`` is what each row
    costs: the longest ranges are taken first, which matters when there are few.
    """
    bounds = _bounds(rows)
    order = range(len(bounds) - 1)
    if work is not None and rows:
        order = np.argsort(-np.add.reduceat(work, bounds[:-1])).tolist()
    indices = iter(order)  # shared: whoever is free takes the next range

    def run():
        for index in indices:
            kernel(bounds[index], bounds[index + 1], *arguments, *(array[index] for array in shared))

    size = max(argument.size for argument in arguments if isinstance(argument, np.ndarray))
    helpers = min(torch.get_num_threads(), len(bounds) - 1) - 1 if size >= WORTH_A_THREAD else 0
    others = [_executor(helpers).submit(run) for _ in range(helpers)]
    run()
    for other in others:
        other.result()


def _bounds(rows: int) -> np.ndarray:
    """Where the ranges of a batch begin and end; at most ``RANGES`` of them, however many threads there are."""
    return np.linspace(0, rows, min(rows, RANGES) + 1).astype(np.int64)


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < threads:
        _pool, _pool_size = ThreadPoolExecutor(threads, "selective-scan"), threads
    return _pool


def _forget_pool() -> None:
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)  # a forked process inherits the pool without its threads


def _shares(rows: int, shape) -> np.ndarray:
    return np.zeros((len(_bounds(rows)) - 1, *shape), np.float64)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _summed(shares: list[np.ndarray], like: Tensor) -> list[Tensor]:
    return [torch.from_numpy(share.sum(0)).to(like.dtype) for share in shares]


def _slots(walk: Walk):
    return walk.start, walk.position.numpy(), walk.reverse
