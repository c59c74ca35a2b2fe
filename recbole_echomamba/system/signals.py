"""Defer signals to a safe point, and tie child processes to the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait


class Interrupted(KeyboardInterrupt):
    """Training was interrupted; the message says how to resume it."""


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Within the block, record the first SIGINT or SIGTERM instead of acting on it; a second one has its usual effect.

    Nothing is recorded outside the main thread, where Python delivers no signals, and for signals that this process was started
    to ignore (``nohup``).

    Yields:
        A function that tells whether a signal has been recorded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    recorded: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    usual = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def record(number, frame):
        recorded.append(number)
        signal.signal(number, usual[number])

    for number in usual:
        signal.signal(number, record)
    try:
        yield lambda: bool(recorded)
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within the block, let SIGTERM raise :class:`KeyboardInterrupt` as Ctrl-C does.

    Nothing changes outside the main thread, and in a process that was started to ignore the signal.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with_parent() -> None:
    """End this process, started by :mod:`multiprocessing`, as soon as its parent ends, even after ``kill -9``.

    The process ends without any cleanup. That is safe for a run, whose files are written atomically at the end of each epoch.
    """
    parent = multiprocessing.parent_process()

    def wait_for_parent():
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()


@contextmanager
def children_ignore_sigint() -> Iterator[None]:
    """Let processes started within the block ignore SIGINT, so that only their parent decides when they end.

    A terminal sends Ctrl-C to all processes of a group. Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
