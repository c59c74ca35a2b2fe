"""EchoMamba4Rec, the whole architecture: Wang, He & Zhu, arXiv 2406.02638, as the authors' code computes it.

    e = LN(Dropout(Embedding(item_seq)))                          StateSpaceRecommender.embed
    num_layers times:                                             EchoMambaBlock
        h = LN(Dropout(irfft(rfft(e) * W)) + e)                   SpectralFilter          section 3.2
        num_layers times:                                         BidirectionalMamba      section 3.3
            h = LN(Dropout(Mamba_f(h)) + h) + LN(Dropout(Mamba_b(h)) + h)
        v, g = fc1(h)                                             GatedLinearUnit         section 3.4
        e = LN(Dropout(fc2(v * sigmoid(g)) + h))
    scores = e[item_seq_len - 1] . Embedding                      StateSpaceRecommender.score

Glossary: ``B`` histories, ``L`` slots of a history (right-padded with item 0), ``d`` hidden size, ``e`` and ``h`` hidden states
``[B, L, d]``, ``W`` the learned filter, ``Mamba_f`` and ``Mamba_b`` the Mamba layers that read left to right and right to left,
``fc1`` and ``fc2`` linear layers, ``v`` and ``g`` the halves of the output of ``fc1``, ``T`` the position that is read out.

Mamba's own equations are in :mod:`recbole_echomamba.layers.mamba` and :mod:`recbole_echomamba.ops.reference`; the loss is in
:mod:`recbole_echomamba.models.base`.

The authors' code differs from the paper in two points that are kept here: padding is not masked, so it enters the filter and
the backward branch; and their multi-query attention block is built but never called, so it is left out.

``causal: True`` is a variant in which no position reads a later item, so that it can be trained on all positions at once
(``train_positions: all``). The filter convolves each slot with the slots before it, by the same kernel ``irfft(W)``: at the last
item of a history the circular filter does just that. ``Mamba_b`` reads every item alone, as it does at the last item of a
history that fills its slots. ``dropout_residual: False`` is a variant in which dropout spares the residual of the unit:
``e = LN(Dropout(fc2(v * sigmoid(g))) + h)``, as everywhere else in the model. Parameters and their names are the same in all
variants, so weights can be exchanged.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from recbole_echomamba import ops
from recbole_echomamba.layers import DropoutNorm, Mamba, at_position
from recbole_echomamba.models.base import StateSpaceRecommender, mamba_settings
from recbole_echomamba.system.errors import UserError


class SpectralFilter(nn.Module):
    """Filter every channel in the frequency domain: ``LN(Dropout(irfft(rfft(h) * W)) + h)`` (section 3.2).

    The filter is a circular convolution over all ``L`` slots, as in FMLP-Rec (arXiv 2202.13556), or a causal one.

    Args:
        d_model: width ``d``.
        length: number of slots ``L``.
        dropout: probability.
        causal: convolve each slot with those before it only.
    """

    def __init__(self, d_model: int, length: int, dropout: float = 0.0, causal: bool = False):
        super().__init__()
        self.length = length
        self.causal = causal
        # the last axis holds the real and the imaginary part
        self.weight = nn.Parameter(0.02 * torch.randn(length // 2 + 1, d_model, 2))
        self.norm = DropoutNorm(d_model, dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Filter every channel: ``[B, L, d] -> [B, L, d]``.

        Raises:
            ValueError: ``L`` is not ``length``, or for a causal filter larger than it.
        """
        if self.causal and hidden_states.shape[1] <= self.length:
            filtered = ops.causal_spectral_filter(hidden_states, self.weight, self.length)
            return self.norm(filtered, hidden_states)
        if hidden_states.shape[1] != self.length:
            raise ValueError(f"the filter is built for {self.length} slots, the input has {hidden_states.shape[1]}")
        return self.norm(ops.spectral_filter(hidden_states, self.weight), hidden_states)


class BidirectionalMamba(nn.Module):
    """Read a sequence in both directions: ``LN(Dropout(Mamba_f(h)) + h) + LN(Dropout(Mamba_b(h)) + h)`` (section 3.3).

    Args:
        d_model: width ``d``.
        dropout: probability.
        causal: let ``Mamba_b`` read every token alone instead of all later ones.
        mamba: arguments of :class:`~recbole_echomamba.layers.Mamba`.
    """

    def __init__(self, d_model: int, dropout: float = 0.0, causal: bool = False, **mamba):
        super().__init__()
        self.causal = causal
        self.forward_mamba = Mamba(d_model, **mamba)
        self.backward_mamba = Mamba(d_model, **mamba)
        self.forward_norm = DropoutNorm(d_model, dropout, eps=1e-5)
        self.backward_norm = DropoutNorm(d_model, dropout, eps=1e-5)
        if causal:
            # a token read alone comes from a zero state, which does not decay
            self.backward_mamba.A_log.requires_grad_(False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Compute every position: ``[B, L, d] -> [B, L, d]``."""
        ahead = self.forward_mamba(hidden_states)
        if self.causal:
            behind = self.backward_mamba.forward_alone(hidden_states)
        else:
            behind = self.backward_mamba(hidden_states, reverse=True)
        return self._add_branches(ahead, behind, hidden_states)

    def forward_at(self, hidden_states: Tensor, position: Tensor) -> Tensor:
        """Compute the output at one position of each row: ``[B, L, d], [B] -> [B, d]``.

        The forward branch reads slots ``0..T`` and the backward one ``T..L-1``: ``L + 1`` steps instead of ``2 L``.
        """
        if self.causal:
            at, [(tokens, walk)] = ops.walks_from(hidden_states, position, (False,))
            behind = self.backward_mamba.forward_alone(at)
        else:
            at, [(tokens, walk), (later_tokens, later_walk)] = ops.walks_from(hidden_states, position, (False, True))
            behind = self.backward_mamba.forward_along(later_tokens, later_walk, at)
        return self._add_branches(self.forward_mamba.forward_along(tokens, walk, at), behind, at)

    def _add_branches(self, ahead: Tensor, behind: Tensor, residual: Tensor) -> Tensor:
        return self.forward_norm(ahead, residual) + self.backward_norm(behind, residual)


class GatedLinearUnit(nn.Module):
    """Close a block: ``LN(Dropout(fc2(v * sigmoid(g)) + h))`` with ``v, g = fc1(h)`` (section 3.4; arXiv 1612.08083).

    Args:
        d_model: width ``d``.
        dropout: probability.
        dropout_residual: whether dropout covers the residual ``h`` too, as in the authors' code.
    """

    def __init__(self, d_model: int, dropout: float = 0.0, dropout_residual: bool = True):
        super().__init__()
        self.dropout_residual = dropout_residual
        self.fc1 = nn.Linear(d_model, 2 * d_model)
        self.fc2 = nn.Linear(d_model, d_model)
        self.norm = DropoutNorm(d_model, dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Compute the unit for every token: ``[..., d] -> [..., d]``."""
        value, gate = self.fc1(hidden_states).chunk(2, dim=-1)
        gated = self.fc2(value * torch.sigmoid(gate))
        return self.norm(gated + hidden_states) if self.dropout_residual else self.norm(gated, hidden_states)


class EchoMambaBlock(nn.Module):
    """One block: spectral filter, bidirectional Mamba pairs, gated linear unit.

    Args:
        d_model: width ``d``.
        length: number of slots ``L``.
        pairs: number of bidirectional pairs.
        dropout: probability.
        causal: let no position read a later one.
        dropout_residual: see :class:`GatedLinearUnit`.
        mamba: arguments of :class:`~recbole_echomamba.layers.Mamba`.
    """

    def __init__(
        self,
        d_model: int,
        length: int,
        pairs: int,
        dropout: float,
        causal: bool = False,
        dropout_residual: bool = True,
        **mamba,
    ):
        super().__init__()
        self.filter = SpectralFilter(d_model, length, dropout, causal)
        self.pairs = nn.ModuleList(BidirectionalMamba(d_model, dropout, causal, **mamba) for _ in range(pairs))
        self.glu = GatedLinearUnit(d_model, dropout, dropout_residual)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Compute every position: ``[B, L, d] -> [B, L, d]``."""
        hidden_states = self.filter(hidden_states)
        for pair in self.pairs:
            hidden_states = pair(hidden_states)
        return self.glu(hidden_states)

    def forward_at(self, hidden_states: Tensor, position: Tensor) -> Tensor:
        """Compute one position of each row: ``[B, L, d], [B] -> [B, d]``. Only the last pair and the unit save work."""
        hidden_states = self.filter(hidden_states)
        for pair in self.pairs[:-1]:
            hidden_states = pair(hidden_states)
        last = cast(BidirectionalMamba, self.pairs[-1])
        return self.glu(last.forward_at(hidden_states, position))


class EchoMamba4Rec(StateSpaceRecommender):
    """Bidirectional Mamba with a learnable spectral filter and gated linear units.

    Settings besides those of :class:`.StateSpaceRecommender`: ``num_layers`` blocks, ``pairs_per_block`` (by default as many as
    there are blocks, as the authors nest them), ``causal``, ``dropout_residual``.
    """

    def __init__(self, config, dataset):
        self.causal = config["causal"]
        super().__init__(config, dataset)
        layers = config["num_layers"]
        self.blocks = nn.ModuleList(
            EchoMambaBlock(
                config["hidden_size"],
                self.max_seq_length,
                config["pairs_per_block"] or layers,
                config["dropout_prob"],
                self.causal,
                config["dropout_residual"],
                **mamba_settings(config),
            )
            for _ in range(layers)
        )
        self.reset_parameters()

    def encode(self, item_seq: Tensor, item_seq_len: Tensor, time_seq: Tensor | None = None) -> Tensor:
        """Encode histories: ``[B, L], [B] -> [B, d]``."""
        position = item_seq_len - 1
        hidden_states = self.embed(item_seq, time_seq)
        for block in self.blocks[:-1]:
            hidden_states = block(hidden_states)
        if self.shortcut:
            return cast(EchoMambaBlock, self.blocks[-1]).forward_at(hidden_states, position)
        return at_position(self.blocks[-1](hidden_states), position)

    @property
    def ignores_padding(self) -> bool:
        """Whether no part reads padding: in the authors' form the filter and the backward branch do."""
        return self.causal

    def encode_all(self, item_seq: Tensor, time_seq: Tensor | None = None) -> Tensor:
        """Encode the history up to every position: ``[B, L] -> [B, L, d]``; only with ``causal``."""
        hidden_states = self.embed(item_seq, time_seq)
        for block in self.blocks:
            hidden_states = block(hidden_states)
        return hidden_states

    def _check_all_positions(self) -> None:
        super()._check_all_positions()
        if not self.causal:
            raise UserError(
                "train_positions: all would show EchoMamba4Rec the answers: its circular filter and backward branch read later "
                "items; set causal: True for the variant that does not"
            )
