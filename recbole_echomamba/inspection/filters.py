"""Show what the spectral filters of a model pass, by frequency and by how far back they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from recbole_echomamba import report
from recbole_echomamba.inspection.names import describe_module
from recbole_echomamba.models.echomamba4rec import SpectralFilter

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compute_filter_magnitudes(model: nn.Module) -> dict[str, Tensor]:
    """Compute ``|W|`` of every spectral filter, ``[L // 2 + 1, d]``, by the name of its module."""
    magnitudes = {}
    for name, module in model.named_modules():
        if isinstance(module, SpectralFilter):
            magnitudes[name] = torch.view_as_complex(module.weight.detach().cpu()).abs()
    return magnitudes


def compute_impulse_responses(model: nn.Module) -> dict[str, Tensor]:
    """Compute the kernel ``irfft(W)`` of every spectral filter, ``[L, d]``, by the name of its module.

    Its entry ``n`` is the weight with which a slot reads the one ``n`` slots before it; the circular filter wraps around.
    """
    responses = {}
    for name, module in model.named_modules():
        if isinstance(module, SpectralFilter):
            spectrum = torch.view_as_complex(module.weight.detach().cpu())
            responses[name] = torch.fft.irfft(spectrum, n=module.length, dim=0)
    return responses


def plot_channels(magnitudes: dict[str, Tensor]) -> Figure:
    """Plot an image of the magnitudes ``[L // 2 + 1, d]`` of every filter, its channels sorted by their sum."""
    fig = report.new_figure(height=2.8 * len(magnitudes))
    axes = fig.subplots(len(magnitudes), 1, squeeze=False)[:, 0]
    for (name, magnitude), ax in zip(magnitudes.items(), axes, strict=True):
        by_size = magnitude[:, magnitude.sum(0).argsort(descending=True)]
        image = ax.imshow(by_size.T, aspect="auto", origin="lower", interpolation="nearest", vmin=0)
        fig.colorbar(image, ax=ax, label="|W|")
        ax.set(title=describe_module(name), xlabel="frequency (periods per window)", ylabel="channel")
    return fig


def plot_quartiles(values: dict[str, Tensor], xlabel: str, ylabel: str) -> Figure:
    """Plot the median over channels of ``[n, d]`` non-negative values of every filter, with a band of their quartiles."""
    fig = report.new_figure()
    ax = fig.subplots()
    for name, of_filter in values.items():
        low, middle, high = np.quantile(of_filter.numpy(), (0.25, 0.5, 0.75), axis=1)
        ax.fill_between(range(len(middle)), low, high, alpha=0.25, linewidth=0)
        ax.plot(middle, label=describe_module(name))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, None))
    ax.grid(alpha=0.3)
    report.add_legend(fig)
    return fig
