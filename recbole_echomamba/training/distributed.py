"""Start the processes of a run on this machine, or read the settings of a process that ``torchrun`` started."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.signals import Interrupted

SHUTDOWN_SECONDS = 30
"""How long a process may take to end after another one failed or was interrupted, before it is killed.

It may be waiting for a message from the process that failed.
"""


def torchrun_settings() -> dict[str, int]:
    """Return the process settings of a process that ``torchrun`` started, from its environment variables."""
    rank = int(os.environ["RANK"])
    local_rank = int(os.environ["LOCAL_RANK"])
    world_size = int(os.environ["WORLD_SIZE"])
    return {"local_rank": local_rank, "offset": rank - local_rank, "world_size": world_size, "nproc": world_size}


def spawn_ranks(work: Callable[[dict], dict], nproc: int, settings: dict) -> dict:
    """Call a function in ``nproc`` new processes on this machine.

    Args:
        work: the function; it and what it returns can be pickled.
        nproc: the number of processes.
        settings: the argument of ``work``; each process gets its own ``local_rank`` added.

    Returns:
        What ``work`` returned in the first process of this machine.

    Raises:
        UserError: a process raised it.
        Interrupted: the first process of this machine raised it.
        ProcessRaisedException: a process raised another exception.
        ProcessExitedException: a process was killed.
    """
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()
    context = torch.multiprocessing.spawn(_run_rank, args=(work, settings, queue), nprocs=nproc, join=False)
    outcomes, failure = [], None
    try:
        # A result may be larger than the pipe holds; its sender blocks until it is read
        while not context.join(timeout=1):
            outcomes += _drain(queue)
    except (KeyboardInterrupt, ProcessRaisedException, ProcessExitedException) as error:
        failure = error
        for process in context.processes:
            process.join(SHUTDOWN_SECONDS)
            process.kill()
    outcomes += _drain(queue)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if errors:
        raise errors[0] from None
    if failure is not None:
        raise failure from None
    return outcomes[0] if outcomes else {}


def _run_rank(local_rank: int, work: Callable[[dict], dict], settings: dict, queue) -> None:
    """Call ``work`` in a new process and send its result, or the error that the parent shall raise."""
    try:
        result = work({**settings, "local_rank": local_rank})
    except UserError as error:
        # A new instance has no traceback and no attributes that cannot be pickled
        queue.put(type(error)(str(error)))
        raise
    except Interrupted as error:
        if local_rank == 0:
            queue.put(error)
        raise
    if local_rank == 0:
        queue.put(result)


def _drain(queue) -> list:
    received = []
    while not queue.empty():
        received.append(queue.get())
    return received
