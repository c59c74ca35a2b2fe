"""Measure what each part of a model contributes, by switching it off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from recbole_echomamba.comparison.statistics import choose_cutoff, run_paired_test
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


def evaluate_without_parts(config, model: nn.Module, train, valid) -> Table:
    """Tabulate validation metrics of the whole model and without each part, with the change in percent.

    The last column is the change of NDCG per user with the 95% interval of a paired t-test, where targets are ranked among all
    items.

    Args:
        config: the settings of the run.
        model: the trained model, unchanged afterwards; without parts, the table has one row.
        train: the loader of the training part, on which some metrics count items.
        valid: the loader of the validation part.
    """
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(train)
    k = choose_cutoff(config)
    whole = trainer.evaluate(valid, load_best_model=False)
    whole_ndcg = _read_ndcg(trainer, k)
    rows = [["whole model", *(f"{value:.4f}" for value in whole.values()), ""]]
    for part, parameters in tqdm(
        find_parts(model).items(), desc="parts", disable=None if config["show_progress"] else True
    ):
        with switch_off(parameters):
            result = trainer.evaluate(valid, load_best_model=False)
        cells = [_format_with_change(result[name], value) for name, value in whole.items()]
        rows.append([f"without {part}", *cells, _format_interval(_read_ndcg(trainer, k) - whole_ndcg)])
    table = Table(["", *whole, f"NDCG@{k} change (95% interval)"], rows)
    if len(whole_ndcg) < 2 or len(rows) == 1:
        return Table(table.header[:-1], [row[:-1] for row in rows])
    return table


def _read_ndcg(trainer: Trainer, k: int) -> np.ndarray:
    """Return NDCG@k of each target of the last evaluation, ``[targets]``, in the order of the loader."""
    ranks = trainer.eval_collector.ranks()["rank"]
    return np.where(ranks <= k, GAINS["ndcg"](ranks, k), 0.0)


def _format_interval(values: np.ndarray) -> str:
    if len(values) < 2:
        return ""
    change = run_paired_test("", values)
    return f"{change.mean:+.4f} ({change.low:+.4f} to {change.high:+.4f})"


def _format_with_change(value: float, whole: float) -> str:
    change = f" ({value / whole - 1:+.0%})" if whole else ""
    return f"{value:.4f}{change}"
