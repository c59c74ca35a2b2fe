"""Inspect a trained run: its spectral filters, how far back its Mamba layers remember, and what each part contributes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from recbole_echomamba import report
from recbole_echomamba.experiment import load_run
from recbole_echomamba.layers import Mamba
from recbole_echomamba.models.echomamba4rec import BidirectionalMamba, GatedLinearUnit, SpectralFilter
from recbole_echomamba.models.mamba4rec import FeedForward
from recbole_echomamba.report import Table
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable, write_text
from recbole_echomamba.training.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_ITEMS = 20_000
"""Batches of validation histories are read until step sizes of at least this many items are measured."""

QUANTILES = (0.05, 0.5, 0.95)
"""The quantiles of step sizes and memory lengths in the table."""

FILTER_NOTE = (
    "A filter multiplies the spectrum of every channel along the slots of the history by learned complex weights. Frequency "
    "counts periods per window: 0 is the mean of all slots, the last a change from each slot to the next."
)
FILTER_CAPTION = (
    "Left: magnitude by frequency and channel, channels sorted by their sum. Right: quartiles over channels."
)
MEMORY_NOTE = (
    "Mamba chooses a step size delta for every item and channel; a state with decay A forgets by exp(-delta |A|) per item "
    f"and so remembers about 1 / (delta |A|) items. Measured on at least {MIN_ITEMS:,} items of validation histories, or "
    "on all of them where there are fewer; padding is left out."
)
MEMORY_CAPTION = "Left: distribution of delta over items and channels. Right: memory length over channels and states."
ABLATION_NOTE = (
    "Validation metrics with one part switched off at inference, in all blocks: its last linear map is zero, its residual "
    "connection and normalisation stay. The model was trained with the part, so this shows how much the trained model relies "
    "on it, not how well it would do had it been trained without."
)
TRAINED_ON_ALL_NOTE = (
    " THIS MODEL WAS TRAINED ON THESE TARGETS TOO (train_on: all): the metrics say nothing about new ones."
)


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


def inspect(
    run: Path | str,
    out: Path | str | None = None,
    config_dict: dict | None = None,
    model: str | type | None = None,
) -> Path:
    """Write an HTML page about a trained model.

    Args:
        run: the run directory.
        out: the file to write; ``inspection.html`` in the run directory by default.
        config_dict: settings to change, such as the device; see :func:`.load_run`.
        model: the class of a custom model or ``module:Class``, see :func:`.load_run`.

    Returns:
        The path of the page.

    Raises:
        MissingFileError: the run, its data or the folder of ``out`` does not exist.
        UserError: the model has neither a spectral filter nor a Mamba layer, or the run cannot be loaded.
    """
    out = Path(out) if out else Path(run) / "inspection.html"
    check_writable(out)
    config, trained, _, train, valid, _ = load_run(run, model, config_dict)
    if not any(isinstance(module, Mamba | SpectralFilter) for module in trained.modules()):
        raise UserError(
            f"{config['model']} has neither a spectral filter nor a Mamba layer; inspect a run of a model that has one"
        )
    summary = f"{config['model']} on {config['dataset']}, seed {config['seed']}, kept in {Path(run).name}."
    parts = [report.render_section("Run", summary)]
    magnitudes = compute_filter_magnitudes(trained)
    if magnitudes:
        parts.append(report.render_section("Spectral filters", FILTER_NOTE))
        parts.append(report.render_image(report.encode_png(plot_filters(magnitudes)), FILTER_CAPTION))
    memories = measure_memories(trained, valid, config)
    parts.append(report.render_section("Step sizes and memory", MEMORY_NOTE))
    parts.append(report.render_image(report.encode_png(plot_memories(memories)), MEMORY_CAPTION))
    parts.append(tabulate_memories(memories).to_html())
    ablation = evaluate_without_parts(config, trained, train, valid)
    warning = TRAINED_ON_ALL_NOTE if config["train_on"] == "all" else ""
    parts.append(report.render_section("What each part contributes", ABLATION_NOTE + warning))
    parts.append(ablation.to_html())
    write_text(out, report.render_page(f"Inside {config['model']}", *parts))
    return out


def compute_filter_magnitudes(model: nn.Module) -> dict[str, Tensor]:
    """Compute ``|W|`` of every spectral filter, ``[L // 2 + 1, d]``, by the name of its module."""
    magnitudes = {}
    for name, module in model.named_modules():
        if isinstance(module, SpectralFilter):
            magnitudes[name] = torch.view_as_complex(module.weight.detach().cpu()).abs()
    return magnitudes


def measure_memories(model: nn.Module, valid, config) -> dict[str, Memory]:
    """Measure step sizes and memory lengths of every Mamba layer on validation histories, without padding.

    Args:
        model: a trained model, in evaluation mode.
        valid: the loader of the validation part.
        config: the settings of the run.

    Returns:
        The memory of each layer, by the name of its module.
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
            for name in layers:
                steps[name].append(recorded[name][is_item].cpu())
            measured += int(is_item.sum())
            if measured >= MIN_ITEMS:
                break
    memories = {}
    for name, layer in layers.items():
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

    Args:
        config: the settings of the run.
        model: the trained model, unchanged afterwards.
        train: the loader of the training part, on which some metrics count items.
        valid: the loader of the validation part.
    """
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(train)
    whole = trainer.evaluate(valid, load_best_model=False)
    rows = [["whole model", *(f"{value:.4f}" for value in whole.values())]]
    for part, parameters in tqdm(
        find_parts(model).items(), desc="parts", disable=None if config["show_progress"] else True
    ):
        with switch_off(parameters):
            result = trainer.evaluate(valid, load_best_model=False)
        cells = [_format_with_change(result[name], value) for name, value in whole.items()]
        rows.append([f"without {part}", *cells])
    return Table(["", *whole], rows)


def tabulate_memories(memories: dict[str, Memory]) -> Table:
    """Tabulate :data:`QUANTILES` of step size and memory length, one row per layer."""
    header = ["layer"]
    header += [f"delta {q:.0%}" for q in QUANTILES]
    header += [f"memory {q:.0%}" for q in QUANTILES]
    rows = []
    for name, memory in memories.items():
        numbers = [*np.quantile(memory.delta.numpy(), QUANTILES), *np.quantile(memory.lengths.numpy(), QUANTILES)]
        rows.append([name, *(f"{number:.3g}" for number in numbers)])
    return Table(header, rows)


def plot_filters(magnitudes: dict[str, Tensor]) -> Figure:
    """Plot every filter in a row: an image of its magnitudes ``[L // 2 + 1, d]`` and their quartiles over channels."""
    fig = report.new_figure(10, 3.6 * len(magnitudes))
    axes = fig.subplots(len(magnitudes), 2, squeeze=False)
    for (name, magnitude), (image_ax, quartile_ax) in zip(magnitudes.items(), axes, strict=True):
        by_size = magnitude[:, magnitude.sum(0).argsort(descending=True)]
        image = image_ax.imshow(by_size.T, aspect="auto", origin="lower", interpolation="nearest", vmin=0)
        fig.colorbar(image, ax=image_ax, label="|W|")
        image_ax.set(title=name, xlabel="frequency (periods per window)", ylabel="channel")
        low, middle, high = np.quantile(magnitude.numpy(), (0.25, 0.5, 0.75), axis=1)
        quartile_ax.fill_between(range(len(middle)), low, high, alpha=0.3, linewidth=0)
        quartile_ax.plot(middle)
        quartile_ax.set(title=name, xlabel="frequency (periods per window)", ylabel="|W|", ylim=(0, None))
        quartile_ax.grid(alpha=0.3)
    return fig


def plot_memories(memories: dict[str, Memory]) -> Figure:
    """Plot histograms of step sizes and of memory lengths with logarithmic x axes, one line per layer."""
    fig = report.new_figure(10, 4)
    delta_ax, length_ax = fig.subplots(1, 2)
    deltas = {name: memory.delta.flatten().numpy() for name, memory in memories.items()}
    lengths = {name: memory.lengths.flatten().numpy() for name, memory in memories.items()}
    _plot_histograms(delta_ax, deltas, "delta")
    _plot_histograms(length_ax, lengths, "memory (items)")
    return fig


def _plot_histograms(ax, values: dict[str, np.ndarray], xlabel: str) -> None:
    # without the most extreme values, which would leave most of the axis empty
    low, high = (np.quantile(np.concatenate(list(values.values())), q) for q in (0.001, 0.999))
    bins = np.geomspace(low, high, 60)
    for name, numbers in values.items():
        share = np.full(len(numbers), 1 / len(numbers))
        ax.hist(numbers, bins, histtype="step", weights=share, label=name)
    ax.set(xscale="log", xlabel=xlabel, ylabel="share")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")


def _format_with_change(value: float, whole: float) -> str:
    change = f" ({value / whole - 1:+.0%})" if whole else ""
    return f"{value:.4f}{change}"
