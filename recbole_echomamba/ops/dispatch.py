"""Which backend computes an operation, and why."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os

import torch

FORCE = "ECHOMAMBA_SCAN"
MODULES = {"reference": "reference", "numba": "cpu"}


def backend_for(tensor: torch.Tensor):
    """The module that computes operations on ``tensor``.

    Raises ValueError when ``ECHOMAMBA_SCAN`` names an unknown backend, RuntimeError when the one it names cannot run here.
    """
    return _choose(tensor.device.type, os.environ.get(FORCE, ""))


@functools.cache
def _choose(device: str, forced: str):
    if forced:
        if forced not in MODULES:
            raise ValueError(f"{FORCE} is {forced!r}; choose {', '.join(MODULES)}")
        if reason := why_not(forced, device):
            raise RuntimeError(f"{FORCE} is {forced!r}, which cannot run on this {device}: {reason}")
        name, reason = forced, f"forced by {FORCE}"
    else:
        name, reason = _best(device)
    logging.getLogger().info("selective scan on %s: %s (%s)", device, name, reason)
    return importlib.import_module(f"recbole_echomamba.ops.{MODULES[name]}")


def _best(device: str) -> tuple[str, str]:
    reason = why_not("numba", device)
    return ("numba", "CPU kernels") if not reason else ("reference", reason)


def why_not(name: str, device: str) -> str | None:
    """Why a backend cannot run on a device and what to install, or ``None`` when it can."""
    if name == "numba":
        if device != "cpu":
            return "numba runs on the CPU"
        if importlib.util.find_spec("numba") is None:
            return "numba is not installed; pip install numba"
    return None
