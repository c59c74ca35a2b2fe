"""Describe the machine and the package versions that a result was made with, and measure memory."""

from __future__ import annotations

import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

RECORDED_PACKAGES = ("recbole_echomamba", "recbole", "torch", "numpy", "numba", "triton", "mamba-ssm")
"""Packages whose version can change a result."""


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Return ``processor``, ``system`` and ``threads`` of this process, and ``gpu`` if ``device`` is one."""
    machine: dict[str, str | int] = {
        "processor": read_processor_name(),
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return machine


def read_processor_name() -> str:
    """Return the model name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def measure_peak_memory(device: torch.device) -> int:
    """Return the most bytes allocated on the GPU so far, or held by this process if ``device`` is the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return measure_peak_process_memory()


def measure_peak_process_memory() -> int:
    """Return the most bytes that this process has held so far.

    On Linux this excludes, unlike ``ru_maxrss``, what the parent process held before the fork.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages of :data:`RECORDED_PACKAGES`."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
