"""Ctrl-C that ends training between two batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop; the message says how to go on."""


@contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
    """Inside, the first SIGINT or SIGTERM is only remembered; a second one acts as ever.

    Yields a function that tells whether one came. Outside the main thread, where Python takes no signals, it never does.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def remember(number, frame):
        came.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, remember)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
