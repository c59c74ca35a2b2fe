"""mamba-ssm's CUDA kernel of the full scan, and causal-conv1d's convolution: used instead of ours where they are installed.

Both want ``[B, D, L]`` and know one direction, so the tensors are transposed and, for the other direction, flipped.
"""

from __future__ import annotations

import torch
from mamba_ssm.ops.selective_scan_interface import selective_scan_fn  # pyright: ignore[reportMissingImports]
from torch import Tensor

from recbole_echomamba.ops import reference
from recbole_echomamba.ops.reference import dropout_norm, step_sizes, walks_from
from recbole_echomamba.ops.walk import Walk

try:
    from causal_conv1d import causal_conv1d_fn  # pyright: ignore[reportMissingImports]
except ImportError:
    causal_conv1d_fn = None

__all__ = ["conv_silu", "dropout_norm", "scan_at", "selective_scan", "step_sizes", "walks_from"]


def selective_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False
) -> Tensor:
    """See :func:`.reference.selective_scan`."""
    x_, delta_, B_, C_ = (_to_channels_first(tensor, reverse) for tensor in (x, delta, B, C))
    return _to_tokens(selective_scan_fn(x_, delta_, A.float(), B_, C_, D.float()), reverse)


def scan_at(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, walk: Walk) -> Tensor:
    """See :func:`recbole_echomamba.ops.scan_at`; every position is computed: the kernel has no form for a single one."""
    # only the C of the position that is read out matters
    C = C_at[:, None].expand_as(B)
    return walk.at(selective_scan(x, delta, A, B, C, D, walk.reverse))


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor, walk: Walk) -> tuple[Tensor, Tensor]:
    """See :func:`recbole_echomamba.ops.conv_silu`; causal-conv1d takes two to four taps."""
    if causal_conv1d_fn is None or not 2 <= weight.shape[-1] <= 4:
        return reference.conv_silu(x, weight, bias, walk)
    out = causal_conv1d_fn(_to_channels_first(x, walk.reverse), weight.squeeze(1), bias, activation="silu")
    out = _to_tokens(out, walk.reverse)
    return out, walk.at(out)


def _to_channels_first(tokens: Tensor, reverse: bool) -> Tensor:
    """Turn ``[B, L, D]`` into ``[B, D, L]``, in reading order."""
    return (tokens.flip(1) if reverse else tokens).transpose(1, 2).contiguous()


def _to_tokens(channels: Tensor, reverse: bool) -> Tensor:
    """Turn ``[B, D, L]`` in reading order back into ``[B, L, D]``."""
    tokens = channels.transpose(1, 2)
    return torch.flip(tokens, (1,)) if reverse else tokens
