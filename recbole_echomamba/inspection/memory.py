"""Measure how far back the Mamba layers of a model remember."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_echomamba import report
from recbole_echomamba.inspection.names import describe_module
from recbole_echomamba.layers import Mamba
from recbole_echomamba.report import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_ITEMS = 20_000
"""Batches of validation histories are read until step sizes of at least this many items are measured."""

QUANTILES = (0.05, 0.5, 0.95)
"""The quantiles of step sizes and memory lengths in the table."""


@dataclass
class Memory:
    """Hold the step sizes of one Mamba layer and how far back it remembers.

    A state decays by ``exp(-delta |A|)`` per item, so it remembers about ``1 / (delta |A|)`` items.

    Attributes:
        delta: the step size of every item and channel, ``[items, D]``.
        lengths: the memory length of every channel and state in items, ``[D, N]``, at the channel's median step size.
    """

    delta: Tensor
    lengths: Tensor


def measure_memories(model: nn.Module, valid, config) -> dict[str, Memory]:
    """Measure step sizes and memory lengths of every Mamba layer on validation histories, without padding.

    Args:
        model: a trained model, in evaluation mode.
        valid: the loader of the validation part.
        config: the settings of the run.

    Returns:
        The memory of each layer that computes all positions, by the name of its module. A custom model may read a layer at the
        last position only.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Mamba)}
    steps: dict[str, list[Tensor]] = {name: [] for name in layers}
    measured = 0
    with record_step_sizes(layers) as recorded, compute_all_positions(model), torch.no_grad():
        for interaction, *_ in valid:
            interaction = interaction.to(config["device"])
            items = interaction[model.ITEM_SEQ]
            model.encode(items, interaction[model.ITEM_SEQ_LEN], *model.times_of(interaction))
            is_item = items > 0
            for name, delta in recorded.items():
                if delta.shape[:2] == is_item.shape:
                    steps[name].append(delta[is_item].cpu())
            measured += int(is_item.sum())
            if measured >= MIN_ITEMS:
                break
    memories = {}
    for name, layer in layers.items():
        if not steps[name]:
            continue
        delta = torch.cat(steps[name])
        decay = layer.A.detach().cpu().abs()
        memories[name] = Memory(delta, lengths=1 / (delta.median(0).values[:, None] * decay))
    return memories


@contextlib.contextmanager
def record_step_sizes(layers: dict[str, Mamba]) -> Iterator[dict[str, Tensor]]:
    """Within the block, record the step sizes of the last forward pass of each layer, ``[B, L, D]``, by its name."""
    recorded: dict[str, Tensor] = {}

    def make_hook(name: str, layer: Mamba):
        def hook(x_proj, inputs, output):
            dt = output[..., : layer.dt_rank]
            recorded[name] = F.softplus(layer.dt_proj(dt))

        return hook

    handles = [layer.x_proj.register_forward_hook(make_hook(name, layer)) for name, layer in layers.items()]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def compute_all_positions(model: nn.Module) -> Iterator[None]:
    """Within the block, turn off the last-position shortcut, which bypasses the modules of the last block and their hooks."""
    shortcut = model.shortcut
    model.shortcut = False
    try:
        yield
    finally:
        model.shortcut = shortcut


def tabulate_memories(memories: dict[str, Memory]) -> Table:
    """Tabulate :data:`QUANTILES` of step size and memory length, one row per layer."""
    header = ["layer"]
    header += [f"step {q:.0%}" for q in QUANTILES]
    header += [f"memory {q:.0%} (items)" for q in QUANTILES]
    rows = []
    for name, memory in memories.items():
        numbers = [*np.quantile(memory.delta.numpy(), QUANTILES), *np.quantile(memory.lengths.numpy(), QUANTILES)]
        rows.append([describe_module(name), *(f"{number:.3g}" for number in numbers)])
    return Table(header, rows)


def describe_memories(memories: dict[str, Memory]) -> str:
    """Say in a sentence how far back most states remember."""
    lengths = torch.cat([memory.lengths.flatten() for memory in memories.values()])
    half, most = np.quantile(lengths.numpy(), (0.5, 0.95))
    return f"Half of the states of its Mamba layers remember fewer than {half:.3g} items, one in twenty more than {most:.3g}."


def plot_memories(memories: dict[str, Memory]) -> Figure:
    """Plot the cumulative distributions of step sizes and of memory lengths, one line per layer."""
    fig = report.new_figure(height=5.6)
    delta_ax, length_ax = fig.subplots(2, 1)
    for name, memory in memories.items():
        _plot_distribution(delta_ax, name, memory.delta)
        _plot_distribution(length_ax, name, memory.lengths)
    delta_ax.set(xlabel="step size delta", ylabel="share of items and channels")
    length_ax.set(xlabel="memory length (items)", ylabel="share of channels and states")
    report.add_legend(fig)
    return fig


def _plot_distribution(ax, name: str, values: Tensor) -> None:
    # without the most extreme values, which would leave most of the axis empty
    shares = np.linspace(0.001, 0.999, 500)
    ax.plot(np.quantile(values.numpy(), shares), shares, label=describe_module(name))
    ax.set(xscale="log", ylim=(0, 1))
    ax.grid(alpha=0.3)
