"""Ctrl-C that ends training between two batches, and processes that do not outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop; the message says how to go on."""


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Inside, the first SIGINT and the first SIGTERM are only remembered; a second of its kind acts as ever.

    Yields a function that tells whether one came. Outside the main thread, where Python takes no signals, it never does; nor for
    a signal that this process was started to ignore (nohup).
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

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


def end_with_parent() -> None:
    """In a process started by :mod:`multiprocessing`: end when its parent does, however that ended.

    At once, as after kill -9: what a run keeps is written whole at the end of each epoch.
    """

    parent = multiprocessing.parent_process()

    def watch():
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def starting_a_child() -> Iterator[None]:
    """A process started inside ignores Ctrl-C, which a terminal sends to all of a group: its parent tells it when to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
