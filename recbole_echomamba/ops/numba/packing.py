"""Copy the tokens of each walk out of padded rows, and their gradients back: Numba kernels, autograd function and entry.

``start [B]`` is where the token of slot ``position [B]`` lies in the packed list. The other slots of the walk lie around it in
their own order, so slot ``t`` is at ``start + t - position``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_echomamba.ops.numba.math import kernel
from recbole_echomamba.ops.numba.threads import as_arrays, in_ranges
from recbole_echomamba.ops.walk import Walk


def walks_from(
    tokens: Tensor, position: Tensor, directions: tuple[bool, ...]
) -> tuple[Tensor, list[tuple[Tensor, Walk]]]:
    """See :func:`recbole_echomamba.ops.walks_from`; the tokens of each walk are packed, ``[P, .]``."""
    walks = [Walk(position, tokens.shape[1], reverse, packed=True) for reverse in directions]
    at, *packed = _Pack.apply(tokens, *walks)
    return at, list(zip(packed, walks, strict=True))


class _Pack(torch.autograd.Function):
    """``tokens [B, L, .]`` to those at the positions, ``[B, .]``, and those of each walk; one pass for all gradients."""

    @staticmethod
    def forward(ctx, tokens, *walks):
        ctx.set_materialize_grads(False)
        ctx.walks, ctx.shape, ctx.dtype = walks, tokens.shape, tokens.dtype
        tokens = tokens.detach().contiguous()
        packed = [tokens.new_empty(walk.count.sum(), tokens.shape[-1]) for walk in walks]
        for walk, target in zip(walks, packed, strict=True):
            in_ranges(pack_tokens, len(tokens), *_slots(walk), *as_arrays(tokens, target))
        return walks[0].at(tokens), *packed

    @staticmethod
    @once_differentiable
    def backward(ctx, dat, *dpacked):
        rows, _, width = ctx.shape
        dtokens = torch.empty(ctx.shape, dtype=ctx.dtype)
        (target,) = as_arrays(dtokens)
        missing = dtokens.new_empty(0, width)
        for index, (walk, gradient) in enumerate(zip(ctx.walks, dpacked, strict=True)):
            gradient_at = dat if index == 0 else None
            sources = as_arrays(*(missing if g is None else g for g in (gradient, gradient_at)))
            in_ranges(unpack_gradients, rows, *_slots(walk), *sources, target, index == 0)
        return dtokens, *(None for _ in ctx.walks)


def _slots(walk: Walk):
    return walk.start, walk.position.numpy(), walk.reverse


@kernel
def pack_tokens(first, last, start, position, reverse, tokens, packed):
    """``tokens [B, L, .]`` of rows ``first..last`` to ``packed [P, .]``."""
    for row in range(first, last):
        shift = start[row] - position[row]
        begin, end = (position[row], tokens.shape[1]) if reverse else (0, position[row] + 1)
        for t in range(begin, end):
            packed[shift + t] = tokens[row, t]


@kernel
def unpack_gradients(first, last, start, position, reverse, packed, at, tokens, overwrite):
    """The gradient of :func:`pack_tokens`: sets ``tokens`` when ``overwrite``, adds to it otherwise.

    ``at [B, .]`` is added at the positions; either source may be empty and then counts as zero.
    """
    for row in range(first, last):
        shift = start[row] - position[row]
        begin, end = (position[row], tokens.shape[1]) if reverse else (0, position[row] + 1)
        if overwrite:
            tokens[row, :begin] = 0
            tokens[row, end:] = 0
        for t in range(begin, end):
            if len(packed) == 0:
                if overwrite:
                    tokens[row, t] = 0
            elif overwrite:
                tokens[row, t] = packed[shift + t]
            else:
                for d in range(tokens.shape[2]):
                    tokens[row, t, d] += packed[shift + t, d]
        if len(at):
            for d in range(tokens.shape[2]):
                tokens[row, position[row], d] += at[row, d]
