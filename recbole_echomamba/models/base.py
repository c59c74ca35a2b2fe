"""What both state-space recommenders share: item embedding, loss, prediction and scoring.

A model adds ``encode``, one vector per history, and where it can ``encode_all``, one vector per position.
"""

from __future__ import annotations

import inspect
import math

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.loss import BPRLoss
from torch import Tensor, nn

from recbole_echomamba import ops
from recbole_echomamba.layers import DropoutNorm, Mamba
from recbole_echomamba.system.errors import UserError

INITIALIZER_RANGE = 0.02
"""Standard deviation of the weights at the start, as in the authors' code of both models."""

ROWS_OF_SIMILAR_LENGTH = 64
"""Histories that are encoded together when padding is left out: few enough to be alike, many enough for matrix products."""

COUNTED_TOGETHER = 2**22
"""Training targets that are read at once to count them."""

TARGETS_OF_A_SAMPLE = 64
"""Targets of a batch that share the items which ``SampledCE`` draws."""

MOST_SAMPLES = 32
"""Samples of items for a batch, all of which are in memory at once; in larger batches more targets share one."""

GAP_BUCKETS = 26
"""Rows of the embedding of time gaps: unknown, then ``floor(log2(1 + seconds))`` from 0 to 24 (half a year)."""


class StateSpaceRecommender(SequentialRecommender):
    """A RecBole sequential model that scores items by their embedding against one vector per history.

    Settings: ``hidden_size``, ``dropout_prob``, ``loss_type`` (CE, SampledCE or BPR), ``train_negatives`` and
    ``negative_distribution`` (uniform or popularity) for SampledCE, ``ssm_init``, ``last_position_shortcut``,
    ``train_positions`` (last or all), ``time_gaps``. With ``learner: lazy_adam`` the item embedding has sparse gradients.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.loss_type = _choice(config, "loss_type", ("CE", "SampledCE", "BPR"))
        self.ssm_init = _choice(config, "ssm_init", ("mamba", "normal"))
        self.train_positions = _choice(config, "train_positions", ("last", "all"))
        if self.train_positions == "all":
            self._check_all_positions()
        self.shortcut = config["last_position_shortcut"]
        sparse = config["learner"] == "lazy_adam"
        if sparse and self.loss_type == "CE":
            raise UserError(
                "learner: lazy_adam updates the items that a step reads, and loss_type: CE reads all; set loss_type: SampledCE "
                "or BPR"
            )
        self.item_embedding = nn.Embedding(self.n_items, config["hidden_size"], padding_idx=0, sparse=sparse)
        self.train_negatives = config["train_negatives"]
        self._sampler: ops.ClassSampler | None = None
        if self.loss_type == "SampledCE":
            self._prepare_sampling(dataset, config["negative_distribution"])
        self.time_field = None
        if config["time_gaps"]:
            if config["normalize_all"]:
                raise UserError(
                    "time_gaps needs times in seconds, but normalize_all rescales them; set normalize_all: False"
                )
            if "time_seq" not in inspect.signature(self.encode).parameters:
                raise UserError(f"time_gaps needs an encode with time_seq, which {type(self).__name__} does not have")
            self.time_field = config["TIME_FIELD"] + config["LIST_SUFFIX"]
            self.gap_embedding = nn.Embedding(GAP_BUCKETS, config["hidden_size"])
        self.input_norm = DropoutNorm(config["hidden_size"], config["dropout_prob"])
        self.bpr_loss = BPRLoss()

    def reset_parameters(self) -> None:
        """Redraw embeddings and linear weights as N(0, 0.02) with zero biases.

        With ``ssm_init: mamba`` the Mamba layers keep their own initialisation, in which ``delta`` spans 0.001 .. 0.1.
        ``ssm_init: normal`` redraws their linear layers too, as the authors' code does; ``delta`` then starts near 0.69.
        """
        kept = set()
        if self.ssm_init == "mamba":
            kept = {part for module in self.modules() if isinstance(module, Mamba) for part in module.modules()}
        for module in self.modules():
            if module in kept or not isinstance(module, nn.Linear | nn.Embedding):
                continue
            nn.init.normal_(module.weight, std=INITIALIZER_RANGE)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            # the padding item stays neutral
            self.item_embedding.weight[0] = 0
            if self.time_field:
                # the model starts as the one without times
                self.gap_embedding.weight.zero_()

    def embed(self, item_seq: Tensor, time_seq: Tensor | None = None) -> Tensor:
        """Embed items: ``item_seq [B, L]`` to ``[B, L, d]``; no positions, since a recurrence knows the order.

        Args:
            item_seq: ``[B, L]``.
            time_seq: ``[B, L]`` seconds, for ``time_gaps``.
        """
        embedded = self.item_embedding(item_seq)
        if self.time_field:
            if time_seq is None:
                raise UserError("this model was made with time_gaps: its histories need times")
            embedded = embedded + self.gap_embedding(gap_buckets(time_seq))
        return self.input_norm(embedded)

    def encode(self, item_seq: Tensor, item_seq_len: Tensor, time_seq: Tensor | None = None) -> Tensor:
        """Encode each history in one vector, ``[B, d]``.

        Args:
            item_seq: ``[B, L]``, right-padded with 0.
            item_seq_len: ``[B]``.
            time_seq: ``[B, L]`` seconds, given only to models with ``time_gaps``.
        """
        raise NotImplementedError

    def encode_all(self, item_seq: Tensor, time_seq: Tensor | None = None) -> Tensor:
        """Encode the history up to every position, ``[B, L] -> [B, L, d]``; no position may see a later item."""
        raise NotImplementedError

    @property
    def ignores_padding(self) -> bool:
        """Whether padding changes nothing but the time; models whose result does not depend on padding override it."""
        return False

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, time_seq: Tensor | None = None) -> Tensor:
        """Call :meth:`encode`, under RecBole's name."""
        return self.encode(item_seq, item_seq_len, time_seq)

    def calculate_loss(self, interaction) -> Tensor:
        """Compute the cross-entropy of the next item over all items or a sample of them, or BPR against one; a scalar.

        With ``train_positions: all`` the targets are ``[B, L]``, 0 where there is none, and the loss is the mean over all.
        """
        target = interaction[self.POS_ITEM_ID]
        if self.train_positions == "all":
            return self._loss_at_all_positions(interaction, target)
        encoded = self.encode_batch(interaction)
        if self.loss_type != "BPR":
            return self._cross_entropy(encoded, target)
        positive = (encoded * self.item_embedding(target)).sum(-1)
        negative = (encoded * self.item_embedding(interaction[self.NEG_ITEM_ID])).sum(-1)
        return self.bpr_loss(positive, negative)

    def predict(self, interaction) -> Tensor:
        """Score one item per row, ``[B]``."""
        return (self.encode_batch(interaction) * self.item_embedding(interaction[self.ITEM_ID])).sum(-1)

    def full_sort_predict(self, interaction) -> Tensor:
        """Score all items for every row, ``[B, n_items]``."""
        return self.score(self.encode_batch(interaction))

    def score(self, encoded: Tensor) -> Tensor:
        """Score all items for encoded histories: ``[B, d] -> [B, n_items]``; column 0 is the padding item."""
        return encoded @ self.item_embedding.weight.T

    def encode_batch(self, interaction) -> Tensor:
        """Encode each history of RecBole's batch in one vector, ``[B, d]``."""
        inputs = (interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN], *self.times_of(interaction))
        if self.ignores_padding and inputs[0].device.type == "cpu":
            return self._encode_by_length(*inputs)
        return self.encode(*inputs)

    def _check_all_positions(self) -> None:
        if type(self).encode_all is StateSpaceRecommender.encode_all:
            raise UserError(
                f"train_positions: all needs a model with encode_all, which {type(self).__name__} does not have"
            )
        if self.loss_type == "BPR":
            raise UserError("train_positions: all needs loss_type: CE or SampledCE, it is BPR")

    def _prepare_sampling(self, dataset, distribution: str) -> None:
        """Prepare to draw ``train_negatives`` items for every :data:`TARGETS_OF_A_SAMPLE` targets of a batch."""
        if self.train_negatives > self.n_items - 1:
            raise UserError(
                f"train_negatives is {self.train_negatives}, but there are {self.n_items - 1} items; set it lower, or "
                "loss_type: CE"
            )
        # one more than the training targets: an item that is the target of none is drawn too
        counts = torch.ones(self.n_items, dtype=torch.float64)
        samples = getattr(dataset, "inter_feat", None)
        if distribution == "popularity" and samples is not None:
            for start in range(0, len(samples), COUNTED_TOGETHER):
                targets = torch.as_tensor(samples[start : start + COUNTED_TOGETHER][self.ITEM_ID])
                counts += torch.bincount(targets, minlength=self.n_items)
        counts[0] = 0
        self._sampler = ops.ClassSampler(counts, self.train_negatives)

    def _cross_entropy(self, encoded: Tensor, target: Tensor) -> Tensor:
        if self.loss_type == "CE":
            return ops.linear_cross_entropy(encoded, self.item_embedding.weight, target)
        assert self._sampler is not None
        samples = min(MOST_SAMPLES, math.ceil(len(encoded) / TARGETS_OF_A_SAMPLE))
        sampled, log_expected = self._sampler.draw(samples, encoded.device)
        rows = (self.item_embedding(target), self.item_embedding(sampled))
        return ops.sampled_cross_entropy(encoded, *rows, target, sampled, log_expected)

    def _loss_at_all_positions(self, interaction, target: Tensor) -> Tensor:
        trained = target > 0
        encoded = self.encode_all(interaction[self.ITEM_SEQ], *self.times_of(interaction))[trained]
        loss = self._cross_entropy(encoded, target[trained])
        if not torch.distributed.is_initialized():
            return loss
        # processes average their gradients, but they hold unequal numbers of targets
        targets = torch.tensor(float(len(encoded)), device=loss.device)
        targets_of_all = targets.clone()
        torch.distributed.all_reduce(targets_of_all)
        return loss * (targets * torch.distributed.get_world_size() / targets_of_all)

    def _encode_by_length(self, item_seq: Tensor, item_seq_len: Tensor, *time_seq: Tensor) -> Tensor:
        """Encode histories in groups of similar length, each without the slots that are padding in all of its rows."""
        order = item_seq_len.argsort()
        encoded = []
        for rows in order.split(ROWS_OF_SIMILAR_LENGTH):
            longest = int(item_seq_len[rows[-1]])
            times = (times[rows, :longest] for times in time_seq)
            encoded.append(self.encode(item_seq[rows, :longest], item_seq_len[rows], *times))
        return torch.cat(encoded)[order.argsort()]

    def times_of(self, interaction) -> tuple[Tensor, ...]:
        """Return the times ``[B, L]`` of an interaction as further arguments of ``encode``; none without ``time_gaps``."""
        return (interaction[self.time_field],) if self.time_field else ()


def has_linear_scores(model_class: type) -> bool:
    """Return whether the scores of a model are products with its item embedding, so that items can be ranked by blocks.

    A class that overrides how :class:`StateSpaceRecommender` scores may score in any way.
    """
    base = StateSpaceRecommender
    return issubclass(model_class, base) and all(
        getattr(model_class, name) is getattr(base, name) for name in ("score", "full_sort_predict")
    )


def gap_buckets(time_seq: Tensor) -> Tensor:
    """Number the time since the previous item on a logarithmic scale: ``[B, L] -> [B, L]``, from 0 to ``GAP_BUCKETS - 1``.

    Times are float32, as in RecBole: of today's seconds since 1970 only gaps of about two minutes and more are told apart.

    The first item of a history, padding, and a history without times (all zero) get 0; no later time is read.

    Args:
        time_seq: ``[B, L]``, seconds, ascending; 0 for padding.
    """
    gaps = (time_seq[:, 1:] - time_seq[:, :-1]).clamp(min=0)
    buckets = (gaps + 1).log2().floor().long() + 1
    known = (time_seq[:, 1:] != 0) & (time_seq[:, :-1] != 0)
    buckets = torch.where(known, buckets.clamp(max=GAP_BUCKETS - 1), 0)
    return torch.nn.functional.pad(buckets, (1, 0))


def mamba_settings(config) -> dict:
    """Return the arguments of :class:`~recbole_echomamba.layers.Mamba` that a configuration sets."""
    return {key: config[key] for key in ("d_state", "d_conv", "expand")}


def _choice(config, key: str, choices: tuple[str, ...]) -> str:
    if config[key] not in choices:
        raise UserError(f"{key} is {config[key]!r}; choose {' or '.join(choices)}")
    return config[key]
