"""Choose the backend that computes an operation, and log the reason."""

from __future__ import annotations

import functools
import importlib
import logging
import os

import torch

from recbole_echomamba.system.errors import UserError

FORCE = "ECHOMAMBA_SCAN"
BACKENDS = ["numba", "triton", "mamba_ssm", "reference"]
"""Modules of this package in order of preference."""

BACKENDS_FOR_ALL_POSITIONS = ["mamba_ssm", "numba", "triton", "reference"]
"""The same for a scan over all positions, where mamba-ssm's compiled kernel comes first."""

DEVICE = {"numba": "cpu", "triton": "cuda", "mamba_ssm": "cuda"}
"""The device type a backend needs; the reference runs on any."""


def backend_for(tensor: torch.Tensor, all_positions: bool = False):
    """Return the module that computes operations on ``tensor``.

    Args:
        tensor: any input of the operation.
        all_positions: whether the operation is a scan over all positions.

    Raises:
        UserError: ``ECHOMAMBA_SCAN`` names an unknown backend, or one that cannot run here.
    """
    if torch.compiler.is_exporting():
        return module_of("traceable")
    return _choose(tensor.device.type, os.environ.get(FORCE, ""), all_positions)


@functools.cache
def _choose(device: str, forced: str, all_positions: bool):
    what = "scans over all positions" if all_positions else "scans at one position and what surrounds scans"
    if forced:
        if forced not in BACKENDS:
            raise UserError(f"{FORCE} is {forced!r}; choose {', '.join(BACKENDS)}")
        if reason := why_not(forced, device):
            raise UserError(f"{FORCE} is {forced!r}, which cannot run on this {device}: {reason}")
        name, reason = forced, f"forced by {FORCE}"
    else:
        name, reason = _best(device, all_positions)
    logging.getLogger().info("%s on %s: %s (%s)", what, device, name, reason)
    return module_of(name)


def module_of(name: str):
    """Import the module of a backend."""
    return importlib.import_module(f"recbole_echomamba.ops.{name}")


def _best(device: str, all_positions: bool) -> tuple[str, str]:
    passed_over = []
    for name in BACKENDS_FOR_ALL_POSITIONS if all_positions else BACKENDS:
        reason = why_not(name, device)
        if reason is None:
            return name, "; ".join(passed_over) or "the fastest here"
        if DEVICE.get(name) == device:
            passed_over.append(f"no {name}: {reason}")
    raise AssertionError("the reference runs everywhere")


def why_not(name: str, device: str) -> str | None:
    """Return why a backend cannot run on a device and what to install, or ``None`` when it can."""
    interpreted = name == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    if name in DEVICE and device != DEVICE[name] and not interpreted:
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
    # the compiled module is what counts: newer sources of mamba-ssm install without it
    install = "MAMBA_KEEP_CUDA_BUILD=TRUE pip install --no-build-isolation 'recbole_echomamba[cuda]'"
    try:
        importlib.import_module("selective_scan_cuda")
        importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except ImportError as error:
        return f"{error}; {install}"
    return None
