"""A look inside a trained run: its spectral filters, how far its Mamba layers remember, and what each part is worth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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

TOKENS = 20_000
"""Items of validation histories, at least, whose step sizes are looked at."""


@dataclass
class Memory:
    """Of one Mamba layer: the step sizes ``delta [tokens, D]`` on real histories and ``lengths [D, N]``.

    A state decays as ``exp(-delta |A|)`` per item, so it remembers about ``1 / (delta |A|)`` items; ``lengths`` takes each
    channel's median step.
    """

    delta: Tensor
    lengths: Tensor


def inspect(run: Path | str, out: Path | str | None = None, config_dict: dict | None = None) -> Path:
    """Write ``inspection.html`` into a run directory, or to ``out``, and return its path.

    Raises ValueError when the model has no part that this page knows, FileNotFoundError when the run is not there.
    """
    out = Path(out) if out else Path(run) / "inspection.html"
    check_writable(out)
    config, model, _, train, valid, _ = load_run(run, config_dict=config_dict)
    if not any(isinstance(module, Mamba | SpectralFilter) for module in model.modules()):
        raise UserError(f"{config['model']} has neither a spectral filter nor a Mamba layer to look into")
    parts = [
        report.section(
            "Run", f"{config['model']} on {config['dataset']}, seed {config['seed']}, kept in {Path(run).name}."
        )
    ]
    filters = magnitudes(model)
    if filters:
        parts += [report.section("Spectral filters", FILTER_NOTE), _picture(draw_filters(filters), FILTER_CAPTION)]
    remembered = memories(model, valid, config)
    parts += [report.section("Step sizes and memory", MEMORY_NOTE), _picture(draw_memories(remembered), MEMORY_CAPTION)]
    parts += [memory_table(remembered).html()]
    worth = ablation(config, model, train, valid)
    trained_on = SEEN_NOTE if config["train_on"] == "all" else ""
    parts += [report.section("What each part is worth", ABLATION_NOTE + trained_on), worth.html()]
    write_text(out, report.page(f"Inside {config['model']}", *parts))
    return out


FILTER_NOTE = (
    "A filter multiplies the spectrum of every channel along the slots of the history by learned complex weights. Frequency "
    "counts periods per window: 0 is the mean of all slots, the last a change from each slot to the next."
)
FILTER_CAPTION = (
    "Left: magnitude by frequency and channel, channels sorted by their sum. Right: quartiles over channels."
)
MEMORY_NOTE = (
    "Mamba chooses a step size delta for every item and channel; a state with decay A forgets by exp(-delta |A|) per item "
    f"and so remembers about 1 / (delta |A|) items. Measured on real items of at least {TOKENS:,} validation tokens, or all."
)
MEMORY_CAPTION = "Left: distribution of delta over items and channels. Right: memory length over channels and states."
ABLATION_NOTE = (
    "Validation metrics with one part switched off at inference, in all blocks: its last linear map is zero, its residual "
    "connection and normalisation stay. The model was trained with the part, so this tells what the trained model leans on, "
    "not how well it would do had it been trained without."
)

SEEN_NOTE = " THIS MODEL WAS TRAINED ON THESE TARGETS TOO (train_on: all): the metrics say nothing about new ones."


def magnitudes(model: nn.Module) -> dict[str, Tensor]:
    """``|W|`` of every spectral filter by its name in the model, ``[L // 2 + 1, d]``."""
    filters = {name: module for name, module in model.named_modules() if isinstance(module, SpectralFilter)}
    return {name: torch.view_as_complex(module.weight.detach().cpu()).abs() for name, module in filters.items()}


def memories(model: nn.Module, valid, config) -> dict[str, Memory]:
    """Step sizes and memory lengths of every Mamba layer on validation histories, padding left out."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Mamba)}
    steps: dict[str, list[Tensor]] = {name: [] for name in layers}
    real: Tensor

    def keep(name: str):
        def hook(x_proj, inputs, output):
            dt = output[..., : layers[name].dt_rank]
            steps[name].append(F.softplus(layers[name].dt_proj(dt))[real].cpu())

        return hook

    handles = [layer.x_proj.register_forward_hook(keep(name)) for name, layer in layers.items()]
    shortcut, model.shortcut = model.shortcut, False  # the shortcut skips slots, and with them the modules' hooks
    seen = 0
    try:
        with torch.no_grad():
            for interaction, *_ in valid:
                items = interaction[model.ITEM_SEQ].to(config["device"])
                real = items > 0
                model.encode(items, interaction[model.ITEM_SEQ_LEN].to(config["device"]))
                seen += int(real.sum())
                if seen >= TOKENS:
                    break
    finally:
        model.shortcut = shortcut
        for handle in handles:
            handle.remove()
    deltas = {name: torch.cat(step) for name, step in steps.items()}
    return {
        name: Memory(delta, 1 / (delta.median(0).values[:, None] * layers[name].A.detach().cpu().abs()))
        for name, delta in deltas.items()
    }


def switches(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parts that can be switched off, each with the parameters of its last linear map over all blocks."""
    found: dict[str, list[nn.Parameter]] = {}

    def add(part: str, *parameters: nn.Parameter) -> None:
        found.setdefault(part, []).extend(parameters)

    paired = set()
    for module in model.modules():
        if isinstance(module, SpectralFilter):
            add("spectral filter", module.weight)
        elif isinstance(module, BidirectionalMamba):
            paired |= {module.forward_mamba, module.backward_mamba}
            add("forward Mamba", module.forward_mamba.out_proj.weight)
            add("backward Mamba", module.backward_mamba.out_proj.weight)
        elif isinstance(module, GatedLinearUnit):
            add("gated linear unit", *module.fc2.parameters())
        elif isinstance(module, FeedForward):
            add("feed-forward", *module.w_2.parameters())
        elif isinstance(module, Mamba) and module not in paired:
            add("Mamba", module.out_proj.weight)
    return found


@contextlib.contextmanager
def switched_off(parameters: list[nn.Parameter]) -> Iterator[None]:
    """The parameters are zero inside the block and what they were after it."""
    kept = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)


def ablation(config, model: nn.Module, train, valid) -> Table:
    """Validation metrics of the whole model and without each part, with the change in percent."""
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(train)  # some metrics count items of the training part
    whole = trainer.evaluate(valid, load_best_model=False)
    rows = [["whole model", *(f"{value:.4f}" for value in whole.values())]]
    for part, parameters in tqdm(switches(model).items(), desc="parts", disable=not config["show_progress"]):
        with switched_off(parameters):
            result = trainer.evaluate(valid, load_best_model=False)
        cells = (f"{result[name]:.4f}{_change(result[name], value)}" for name, value in whole.items())
        rows.append([f"without {part}", *cells])
    return Table(["", *whole], rows)


def memory_table(remembered: dict[str, Memory]) -> Table:
    """Quantiles of delta and of memory length for every layer."""
    header = ["layer", *(f"{what} {q:.0%}" for what in ("delta", "memory") for q in QUANTILES)]
    rows = [
        [
            name,
            *(f"{number:.3g}" for values in (m.delta, m.lengths) for number in np.quantile(values.numpy(), QUANTILES)),
        ]
        for name, m in remembered.items()
    ]
    return Table(header, rows)


QUANTILES = (0.05, 0.5, 0.95)


def draw_filters(filters: dict[str, Tensor]):
    """One row per filter: an image of the magnitude and its quartiles over channels."""
    drawn = report.figure(10, 3.6 * len(filters))
    for (name, magnitude), (left, right) in zip(
        filters.items(), drawn.subplots(len(filters), 2, squeeze=False), strict=True
    ):
        ordered = magnitude[:, magnitude.sum(0).argsort(descending=True)]
        shown = left.imshow(ordered.T, aspect="auto", origin="lower", interpolation="nearest", vmin=0)
        drawn.colorbar(shown, ax=left, label="|W|")
        left.set(title=name, xlabel="frequency (periods per window)", ylabel="channel")
        low, middle, high = np.quantile(magnitude.numpy(), (0.25, 0.5, 0.75), axis=1)
        right.fill_between(range(len(middle)), low, high, alpha=0.3, linewidth=0)
        right.plot(middle)
        right.set(title=name, xlabel="frequency (periods per window)", ylabel="|W|", ylim=(0, None))
        right.grid(alpha=0.3)
    return drawn


def draw_memories(remembered: dict[str, Memory]):
    """Histograms of step sizes and of memory lengths on logarithmic axes, a line per layer."""
    drawn = report.figure(10, 4)
    for axes, part, label in zip(drawn.subplots(1, 2), ("delta", "lengths"), ("delta", "memory (items)"), strict=True):
        values = {name: getattr(memory, part).flatten().numpy() for name, memory in remembered.items()}
        ends = [np.quantile(np.concatenate(list(values.values())), q) for q in (0.001, 0.999)]
        for name, each in values.items():
            axes.hist(
                each,
                np.geomspace(*ends, 60),
                histtype="step",
                density=False,
                weights=np.full(len(each), 1 / len(each)),
                label=name,
            )
        axes.set(xscale="log", xlabel=label, ylabel="share")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return drawn


def _picture(drawn, caption: str) -> str:
    return report.image(report.png(drawn), caption)


def _change(value: float, whole: float) -> str:
    return f" ({(value / whole - 1):+.0%})" if whole else ""
