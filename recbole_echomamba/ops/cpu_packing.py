"""Numba kernels that copy the tokens of a walk out of padded rows, and their gradients back.

``start [B]`` is where the token of slot ``position [B]`` lies in the packed list; the other slots of the walk lie in their
own order around it, so slot ``t`` is at ``start + t - position``.
"""

from __future__ import annotations

from recbole_echomamba.ops.cpu_math import kernel


@kernel
def pack(first, last, start, position, reverse, tokens, packed):
    """``tokens [B, L, .]`` of rows ``first..last`` to ``packed [P, .]``."""
    for row in range(first, last):
        shift = start[row] - position[row]
        begin, end = (position[row], tokens.shape[1]) if reverse else (0, position[row] + 1)
        for t in range(begin, end):
            packed[shift + t] = tokens[row, t]


@kernel
def unpack(first, last, start, position, reverse, packed, at, tokens, fresh):
    """The gradient of :func:`pack`: sets ``tokens`` when ``fresh``, adds to it otherwise.

    ``at [B, .]`` is added at the positions; either source may be empty and then counts as zero.
    """
    for row in range(first, last):
        shift = start[row] - position[row]
        begin, end = (position[row], tokens.shape[1]) if reverse else (0, position[row] + 1)
        if fresh:
            tokens[row, :begin] = 0
            tokens[row, end:] = 0
        for t in range(begin, end):
            if len(packed) == 0:
                if fresh:
                    tokens[row, t] = 0
            elif fresh:
                tokens[row, t] = packed[shift + t]
            else:
                for d in range(tokens.shape[2]):
                    tokens[row, t, d] += packed[shift + t, d]
        if len(at):
            for d in range(tokens.shape[2]):
                tokens[row, position[row], d] += at[row, d]
