"""Which backend computes an operation, and why."""

from __future__ import annotations

import functools
import importlib
import logging
import os

import torch

FORCE = "ECHOMAMBA_SCAN"
MODULES = {"reference": "reference", "numba": "cpu", "triton": "gpu", "mamba_ssm": "cuda"}
DEVICE = {"numba": "cpu", "triton": "cuda", "mamba_ssm": "cuda"}
ORDER = ["numba", "triton", "mamba_ssm", "reference"]
"""The first that can run is taken; for a scan over all positions mamba-ssm's compiled kernel comes first."""


def backend_for(tensor: torch.Tensor, all_positions: bool = False):
    """The module that computes operations on ``tensor``.

    Raises ValueError when ``ECHOMAMBA_SCAN`` names an unknown backend, or one that cannot run here.
    """
    return _choose(tensor.device.type, os.environ.get(FORCE, ""), all_positions)


@functools.cache
def _choose(device: str, forced: str, all_positions: bool):
    what = "scans over all positions" if all_positions else "scans at one position and what surrounds scans"
    if forced:
        if forced not in MODULES:
            raise ValueError(f"{FORCE} is {forced!r}; choose {', '.join(MODULES)}")
        if reason := why_not(forced, device):
            raise ValueError(f"{FORCE} is {forced!r}, which cannot run on this {device}: {reason}")
        name, reason = forced, f"forced by {FORCE}"
    else:
        name, reason = _best(device, all_positions)
    logging.getLogger().info("%s on %s: %s (%s)", what, device, name, reason)
    return module_of(name)


def module_of(name: str):
    """The module of a backend, imported when it is needed."""
    return importlib.import_module(f"recbole_echomamba.ops.{MODULES[name]}")


def _best(device: str, all_positions: bool) -> tuple[str, str]:
    order = sorted(ORDER, key=lambda name: name != "mamba_ssm") if all_positions else ORDER
    passed_over = []
    for name in order:
        reason = why_not(name, device)
        if reason is None:
            return name, "; ".join(passed_over) or "the fastest here"
        if DEVICE.get(name) == device:
            passed_over.append(f"no {name}: {reason}")
    raise AssertionError("the reference runs everywhere")


def why_not(name: str, device: str) -> str | None:
    """Why a backend cannot run on a device and what to install, or ``None`` when it can."""
    if (
        name in DEVICE
        and device != DEVICE[name]
        and not (name == "triton" and os.environ.get("TRITON_INTERPRET") == "1")
    ):
        return f"{name} runs on {DEVICE[name]}"
    if name == "mamba_ssm":
        return _why_no_mamba_ssm()
    if name in DEVICE:
        try:
            importlib.import_module(name)
        except ImportError as error:
            return f"{name} does not import ({error}); pip install {name}"
    return None


def _why_no_mamba_ssm() -> str | None:
    """The compiled module is asked for: newer sources of mamba-ssm install without it."""
    install = "MAMBA_KEEP_CUDA_BUILD=TRUE pip install --no-build-isolation 'recbole_echomamba[cuda]'"
    try:
        importlib.import_module("selective_scan_cuda")
        importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except ImportError as error:
        return f"{error}; {install}"
    return None
