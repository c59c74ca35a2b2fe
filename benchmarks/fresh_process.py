"""Call a function in a process of its own, whose memory is only what the function needs."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


def call_in_fresh_process(function: Callable, *arguments):
    """Return ``function(*arguments)``, computed in a process of its own."""
    # unlike multiprocessing.Pool, it raises when the process is killed
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
