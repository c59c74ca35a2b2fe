"""Dropout, residual connection and LayerNorm in one pass: Numba kernels, autograd function and entry.

The dropout mask is a hash of a seed and the number of the element, so the backward pass computes it again and threads share no
generator. torch draws masks one number after the other, on one thread.
"""

from __future__ import annotations

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_echomamba.ops import reference
from recbole_echomamba.ops.numba.math import kernel
from recbole_echomamba.ops.numba.threads import (
    add_up,
    apply_in_float,
    as_arrays,
    flatten_tokens,
    in_ranges,
    partial_sums_like,
)


def dropout_norm(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, p: float, eps: float) -> Tensor:
    """See :func:`recbole_echomamba.ops.reference.dropout_norm`; the seed of the mask comes from torch's generator."""
    if not p and not torch.is_grad_enabled() and x.dtype == weight.dtype:
        # without a mask and a gradient, torch is as fast for many tokens, and faster for few
        return reference.dropout_norm(x, residual, weight, bias, p, eps)
    seed = int(torch.randint(2**31 - 1, ())) if p else 0
    residual = None if residual is None else flatten_tokens(residual)
    out = apply_in_float(_DropoutNorm, x.dtype, flatten_tokens(x), residual, weight, bias, seed, p, eps)
    return out.view(x.shape)


class _DropoutNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, residual, weight, bias, seed, p, eps):
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        mean_and_rstd = x.new_empty(2, len(x))
        scalar = mean_and_rstd.numpy().dtype.type
        ctx.dropout = (np.int32(seed), np.float32(p), scalar(1 / (1 - p)))
        ctx.has_residual = residual is not None
        residual = x[:0] if residual is None else residual
        ctx.save_for_backward(x, residual, weight, mean_and_rstd)
        arrays = as_arrays(x, residual, weight, bias, out, *mean_and_rstd)
        in_ranges(dropout_norm_forward, len(x), *ctx.dropout, scalar(eps), *arrays)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        x, residual, weight, mean_and_rstd = ctx.saved_tensors
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        dresidual = torch.empty_like(residual, memory_format=torch.contiguous_format)
        partial_sums = partial_sums_like(len(x), weight, weight)
        arrays = as_arrays(x, residual, weight, *mean_and_rstd, dout, dx, dresidual)
        in_ranges(dropout_norm_backward, len(x), *ctx.dropout, *arrays, partial_sums=partial_sums)
        dresidual = dresidual if ctx.has_residual else None
        return dx, dresidual, *add_up(partial_sums, weight.dtype), None, None, None


@intrinsic
def _uniform(typingctx, index, seed):
    """A number in ``[0, 1)`` with 24 random bits: two rounds of a 32-bit finaliser (C. Wellons' ``lowbias32``)."""

    def codegen(context, builder, signature, args):
        def number(value):
            return ir.Constant(ir.IntType(32), value)

        def mix(h):
            h = builder.mul(builder.xor(h, builder.lshr(h, number(16))), number(0x7FEB352D))
            h = builder.mul(builder.xor(h, builder.lshr(h, number(15))), number(0x846CA68B))
            return builder.xor(h, builder.lshr(h, number(16)))

        h = builder.lshr(mix(builder.add(mix(args[0]), args[1])), number(8))
        return builder.fmul(builder.sitofp(h, ir.FloatType()), ir.Constant(ir.FloatType(), 2.0**-24))

    return types.float32(types.int32, types.int32), codegen


@kernel
def dropout_norm_forward(first, last, seed, p, scale, eps, x, residual, weight, bias, out, mean, rstd):
    """Rows ``first..last`` of ``out = LN(dropout(x) + residual)``; ``residual`` is empty when there is none."""
    width = x.shape[1]
    total = np.empty_like(weight)
    for row in range(first, last):
        _add_dropped(row, seed, p, scale, x, residual, total)
        average = weight.dtype.type(0)
        for d in range(width):
            average += total[d]
        average /= width
        variance = weight.dtype.type(0)
        for d in range(width):
            variance += (total[d] - average) ** 2
        deviation = 1 / np.sqrt(variance / width + eps)
        mean[row] = average
        rstd[row] = deviation
        for d in range(width):
            out[row, d] = (total[d] - average) * deviation * weight[d] + bias[d]


@kernel
def dropout_norm_backward(
    first, last, seed, p, scale, x, residual, weight, mean, rstd, dout, dx, dresidual, dweight, dbias
):
    """Gradients of :func:`dropout_norm`; ``dweight`` and ``dbias`` (float64) are this range's partial sums."""
    width = x.shape[1]
    total = np.empty_like(weight)
    for row in range(first, last):
        _add_dropped(row, seed, p, scale, x, residual, total)
        plain, along = weight.dtype.type(0), weight.dtype.type(0)
        for d in range(width):
            total[d] = (total[d] - mean[row]) * rstd[row]
            pull = dout[row, d] * weight[d]
            plain += pull
            along += pull * total[d]
            dweight[d] += dout[row, d] * total[d]
            dbias[d] += dout[row, d]
        plain /= width
        along /= width
        for d in range(width):
            total[d] = rstd[row] * (dout[row, d] * weight[d] - plain - total[d] * along)
        if len(dresidual):
            for d in range(width):
                dresidual[row, d] = total[d]
        if p > 0:
            base = np.int32(row * width)
            for d in range(width):
                dx[row, d] = total[d] * scale if _uniform(np.int32(base + d), seed) >= p else 0  # pyright: ignore[reportCallIssue]
        else:
            for d in range(width):
                dx[row, d] = total[d]


@kernel
def _add_dropped(row, seed, p, scale, x, residual, total):
    width = x.shape[1]
    if p > 0:
        base = np.int32(row * width)
        for d in range(width):
            total[d] = x[row, d] * scale if _uniform(np.int32(base + d), seed) >= p else 0  # pyright: ignore[reportCallIssue]
    else:
        for d in range(width):
            total[d] = x[row, d]
    if len(residual):
        for d in range(width):
            total[d] += residual[row, d]
