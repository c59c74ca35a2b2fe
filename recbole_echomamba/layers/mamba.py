"""The Mamba-1 layer, over all positions or at one.

Source: Gu & Dao, *Mamba*, arXiv 2312.00752, figure 3 and algorithm 2. Parameter names, shapes and initialisation are those of
mamba-ssm's ``Mamba`` module, so weights can be exchanged by name.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_echomamba import ops
from recbole_echomamba.ops import Walk


class Mamba(nn.Module):
    """Compute ``out_proj(scan(silu(conv(x))) * silu(z))`` with ``x, z = in_proj(h)``.

    Args:
        d_model: width ``d`` of the hidden states.
        d_state: states ``N`` per channel.
        d_conv: taps of the causal depthwise convolution.
        expand: ``d_inner = expand * d_model`` channels are scanned.
        dt_min, dt_max: range in which ``softplus(dt_proj.bias)`` starts, log-uniform.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
    ):
        super().__init__()
        self.d_inner = expand * d_model
        self.d_state = d_state
        self.dt_rank = math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)
        self._init_delta(dt_min, dt_max)

    def _init_delta(self, dt_min: float, dt_max: float) -> None:
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        delta = torch.exp(torch.rand(self.d_inner) * math.log(dt_max / dt_min) + math.log(dt_min)).clamp(min=1e-4)
        with torch.no_grad():
            # the inverse of softplus
            self.dt_proj.bias.copy_(delta + torch.log(-torch.expm1(-delta)))

    def forward(self, hidden_states: Tensor, reverse: bool = False) -> Tensor:
        """Compute every position: ``[B, L, d] -> [B, L, d]``; ``reverse`` reads from the last slot to the first."""
        x, z = self.in_proj(hidden_states).chunk(2, dim=-1)
        x, _ = self._convolve(x, Walk.over_all(*x.shape[:2], x.device, reverse))
        dt, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        y = ops.selective_scan(x, self._delta(dt), self.A, B, C, self.D, reverse)
        return self.out_proj(y * F.silu(z))

    def forward_at(self, hidden_states: Tensor, position: Tensor, reverse: bool = False) -> Tensor:
        """Compute :meth:`forward` at one position of each row: ``[B, L, d], [B] -> [B, d]``."""
        at, [(tokens, walk)] = ops.walks_from(hidden_states, position, (reverse,))
        return self.forward_along(tokens, walk, at)

    def forward_along(self, tokens: Tensor, walk: Walk, at: Tensor) -> Tensor:
        """Compute :meth:`forward_at` for tokens that :func:`.ops.walks_from` has collected.

        The gate, ``C`` and ``out_proj`` are computed at the position only, the rest on the slots that reach it.

        Args:
            tokens: padded ``[B, L, d]`` or packed ``[P, d]``, in the layout of ``walk``.
            walk: the slots that reach the position.
            at: ``[B, d]``, the tokens at the position.
        """
        weight_x, weight_z = self.in_proj.weight.chunk(2)
        x, x_at = self._convolve(F.linear(tokens, weight_x), walk)
        weight_select, weight_C = self.x_proj.weight.split([self.dt_rank + self.d_state, self.d_state])
        dt, B = F.linear(x, weight_select).split([self.dt_rank, self.d_state], dim=-1)
        y = ops.scan_at(x, self._delta(dt), self.A, B, F.linear(x_at, weight_C), self.D, walk)
        return self.out_proj(y * F.silu(F.linear(at, weight_z)))

    def forward_alone(self, hidden_states: Tensor) -> Tensor:
        """Compute :meth:`forward` for every token as a sequence of its own: ``[..., d] -> [..., d]``, without a scan.

        From a zero state the recurrence gives ``y = delta (C . B) x + D x`` after one step, and the convolution sees one tap.
        """
        x, z = self.in_proj(hidden_states).chunk(2, dim=-1)
        x = F.silu(x * self.conv1d.weight[:, 0, -1] + self.conv1d.bias)
        dt, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        y = x * (self._delta(dt) * (B * C).sum(-1, keepdim=True) + self.D)
        return self.out_proj(y * F.silu(z))

    @property
    def A(self) -> Tensor:
        """The decay of each state, ``[d_inner, N]``, negative."""
        return -torch.exp(self.A_log)

    def _convolve(self, x: Tensor, walk: Walk) -> tuple[Tensor, Tensor]:
        # Conv1d has one by default
        assert self.conv1d.bias is not None
        return ops.conv_silu(x, self.conv1d.weight, self.conv1d.bias, walk)

    def _delta(self, dt: Tensor) -> Tensor:
        """Compute the step sizes, ``[..., dt_rank] -> [..., d_inner]``, positive."""
        return ops.step_sizes(dt, self.dt_proj.weight, self.dt_proj.bias)
