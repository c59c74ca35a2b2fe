"""Tell the processes of a run apart.

A run of several processes numbers them twice: over all machines (the rank) and on each machine (the local rank).
Every function takes the :class:`~recbole_echomamba.config.config.Config` of this process.
"""

from __future__ import annotations

import torch


def is_distributed(config) -> bool:
    """Return whether the run has several processes, or one that belongs to a process group."""
    return not config["single_spec"]


def process_rank(config) -> int:
    """Return the rank of this process among all processes of the run, 0 in a run of one process."""
    return torch.distributed.get_rank() if is_distributed(config) else 0


def is_main_process(config) -> bool:
    """Return whether this is the first of all processes, which writes the files of the run."""
    return process_rank(config) == 0


def is_first_on_machine(config) -> bool:
    """Return whether this is the first process of its machine, which prepares the data for the others."""
    return config["local_rank"] == 0
