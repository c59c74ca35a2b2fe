"""What a result was made on and with."""

from __future__ import annotations

import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def machine(device: torch.device) -> dict[str, str | int]:
    """``processor, system, threads`` of this process, and ``gpu`` where it computes on one."""
    found = {"processor": processor(), "system": platform.platform(), "threads": torch.get_num_threads()}
    return {**found, "gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else found


def processor() -> str:
    """The model name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def peak_memory(device: torch.device) -> int:
    """Bytes: the most held on the GPU, or by this process when it runs on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return high_water_bytes()


def high_water_bytes() -> int:
    """The most memory this process has held; on Linux, unlike ``ru_maxrss``, without what its parent held."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    """Of Python and of the packages a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("recbole_echomamba", "recbole", "torch", "numpy", "numba", "triton", "mamba-ssm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
