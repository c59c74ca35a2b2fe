"""Measure what each part of a model contributes, by switching it off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dataset_prep.words import count
from recbole_echomamba.comparison.statistics import Difference, choose_cutoff, correct_by_holm, run_paired_test
from recbole_echomamba.comparison.verdict import LEVEL
from recbole_echomamba.layers import Mamba
from recbole_echomamba.models.echomamba4rec import BidirectionalMamba, GatedLinearUnit, SpectralFilter
from recbole_echomamba.models.mamba4rec import FeedForward
from recbole_echomamba.report import Table
from recbole_echomamba.training.evaluation import GAINS
from recbole_echomamba.training.trainer import Trainer


def find_parts(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Find the parts that can be switched off, each with the parameters of its last linear map in all blocks."""
    parts: dict[str, list[nn.Parameter]] = {}

    def add(part: str, *parameters: nn.Parameter) -> None:
        parts.setdefault(part, []).extend(parameters)

    in_pairs = set()
    for module in model.modules():
        if isinstance(module, SpectralFilter):
            add("spectral filter", module.weight)
        elif isinstance(module, BidirectionalMamba):
            in_pairs |= {module.forward_mamba, module.backward_mamba}
            add("forward Mamba", module.forward_mamba.out_proj.weight)
            add("backward Mamba", module.backward_mamba.out_proj.weight)
        elif isinstance(module, GatedLinearUnit):
            add("gated linear unit", *module.fc2.parameters())
        elif isinstance(module, FeedForward):
            add("feed-forward", *module.w_2.parameters())
        elif isinstance(module, Mamba) and module not in in_pairs:
            add("Mamba", module.out_proj.weight)
    return parts


@contextlib.contextmanager
def switch_off(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Within the block, set parameters to zero; restore them afterwards."""
    originals = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, original in zip(parameters, originals, strict=True):
                parameter.copy_(original)


@dataclass
class Evaluation:
    """Hold the validation metrics of a model, or of a model without one of its parts.

    Attributes:
        part: the part that was switched off; ``None`` for the whole model.
        metrics: the metrics by name.
        change: the difference from the whole model in NDCG@k per user, with a paired t-test; ``None`` for the whole model, and
            where targets are not ranked among all items.
    """

    part: str | None
    metrics: dict[str, float]
    change: Difference | None = None


def evaluate_without_parts(config, model: nn.Module, train, valid) -> list[Evaluation]:
    """Evaluate the whole model, and without each part.

    Args:
        config: the settings of the run.
        model: the trained model, unchanged afterwards.
        train: the loader of the training part, on which some metrics count items.
        valid: the loader of the validation part.

    Returns:
        The whole model first.
    """
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(train)
    k = choose_cutoff(config)
    whole = Evaluation(None, trainer.evaluate(valid, load_best_model=False))
    whole_ndcg = _read_ndcg(trainer, k)
    evaluations = [whole]
    for part, parameters in tqdm(
        find_parts(model).items(), desc="parts", disable=None if config["show_progress"] else True
    ):
        with switch_off(parameters):
            metrics = trainer.evaluate(valid, load_best_model=False)
        change = run_paired_test(part, _read_ndcg(trainer, k) - whole_ndcg) if len(whole_ndcg) > 1 else None
        evaluations.append(Evaluation(part, metrics, change))
    return evaluations


def tabulate_evaluations(evaluations: list[Evaluation], k: int) -> Table:
    """Tabulate the metrics of the whole model and, with the change in percent, without each part.

    The last rows are the change of NDCG@k per user and its 95% interval, where they are known.

    Args:
        evaluations: the whole model first.
        k: the cutoff.
    """
    whole, *others = evaluations
    header = ["metric", "whole model", *(f"without {each.part}" for each in others)]
    rows = []
    for name, value in whole.metrics.items():
        rows.append([name, f"{value:.4f}", *(_format_with_change(each.metrics[name], value) for each in others)])
    changes = [each.change for each in others if each.change is not None]
    if changes:
        rows.append([f"NDCG@{k} change", "", *(f"{change.mean:+.4f}" for change in changes)])
        rows.append(["95% interval", "", *(f"{change.low:+.4f} to {change.high:+.4f}" for change in changes)])
    return Table(header, rows)


def describe_evaluations(evaluations: list[Evaluation], model: str, metric: str, k: int) -> tuple[str, list[str]]:
    """Say how good a model is on validation, and which part it relies on most.

    Args:
        evaluations: the whole model first.
        model: the name of the model.
        metric: the validation metric.
        k: the cutoff.

    Returns:
        A headline and details, in plain text.
    """
    whole, *others = evaluations
    headline = f"{model} has a validation {metric} of {whole.metrics[metric.lower()]:.4f}."
    changes = [each.change for each in others if each.change is not None]
    if not changes:
        return headline, []
    largest = min(changes, key=lambda change: change.mean)
    if largest.mean >= 0:
        return headline, [f"Without any one of its parts, NDCG@{k} does not fall: it relies on none of them alone."]
    is_certain = correct_by_holm([change.p for change in changes])[changes.index(largest)] < LEVEL
    corrected = f", corrected for {len(changes)} parts" if len(changes) > 1 else ""
    chance = f"{'more than chance over users' if is_certain else 'which may be chance'}{corrected}"
    interval = f"95% interval {largest.low:+.4f} to {largest.high:+.4f}, {count(largest.users, 'user')}"
    return headline, [
        f"It relies most on its {largest.label}: without it NDCG@{k} falls by {-largest.mean:.4f}, {chance} ({interval})."
    ]


def _read_ndcg(trainer: Trainer, k: int) -> np.ndarray:
    """Return NDCG@k of each target of the last evaluation, ``[targets]``, in the order of the loader."""
    ranks = trainer.eval_collector.ranks()["rank"]
    return np.where(ranks <= k, GAINS["ndcg"](ranks, k), 0.0)


def _format_with_change(value: float, whole: float) -> str:
    change = f" ({value / whole - 1:+.0%})" if whole else ""
    return f"{value:.4f}{change}"
