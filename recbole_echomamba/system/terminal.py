"""Decide what of the log is shown on the terminal, and keep the whole of it in a file.

Progress and warnings are shown; every other record goes to the log file only, or to both with ``--verbose``.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

PROGRESS = logging.getLogger("recbole_echomamba.progress")
"""The logger for what is shown by default."""

LIBRARY_WARNINGS = "py.warnings"
"""The logger that gets what libraries report with :mod:`warnings`, which a user of this package cannot mend."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class TerminalHandler(logging.Handler):
    """Write progress and each warning once to stderr; with ``verbose`` all records, with their time and level."""

    def __init__(self, verbose: bool = False):
        super().__init__()
        self.verbose = verbose
        self._shown: set[str] = set()
        self._verbose_format = logging.Formatter("%(asctime)s %(levelname)s  %(message)s", "%d %b %H:%M")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, above the progress bar if there is one."""
        try:
            text = self._choose_text(record)
            if text is not None:
                tqdm.write(text if sys.stderr.isatty() else COLOUR.sub("", text), file=sys.stderr)
        except Exception:
            # neither a terminal that is gone nor a record that cannot be formatted ends a training
            self.handleError(record)

    def _choose_text(self, record: logging.LogRecord) -> str | None:
        """Return what to show of a record; ``None`` if it is not shown."""
        if self.verbose:
            return self._verbose_format.format(record)
        if record.name == PROGRESS.name:
            return record.getMessage()
        if is_warning(record) and record.getMessage() not in self._shown:
            self._shown.add(record.getMessage())
            return f"warning: {record.getMessage()}"
        return None


class _LogFile(logging.FileHandler):
    """A log file that does not end a training, nor print a traceback for each record, where it cannot be written.

    The disk is named when the weights and the result are written to it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave the record out."""


class RunLog(logging.Handler):
    """Write the log file of a run, and collect its warnings.

    Attributes:
        warnings: the warnings so far, each once.
    """

    def __init__(self):
        super().__init__()
        self.warnings: list[str] = []
        self._records: list[logging.LogRecord] = []
        self._file: _LogFile | None = None

    def open(self, file: Path, level: int) -> None:
        """Write all records to a file from now on, those before too; it is created by the first one.

        Args:
            file: the log file.
            level: the least level of a record that is written, and shown on the terminal.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = _LogFile(file, delay=True, encoding="utf-8")
        self._file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s  %(message)s"))
        self.setLevel(level)
        if _find_terminal():
            logging.getLogger().setLevel(level)
        for record in self._records:
            self._write(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or keep it until the file is known."""
        try:
            if is_warning(record) and record.getMessage() not in self.warnings:
                self.warnings.append(record.getMessage())
            if self._file is None:
                self._records.append(record)
            else:
                self._write(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        super().close()

    def _write(self, record: logging.LogRecord) -> None:
        if record.levelno >= self.level:
            # RecBole colours its messages
            text = COLOUR.sub("", record.getMessage())
            self._file.emit(logging.makeLogRecord({**record.__dict__, "msg": text, "args": None}))


def is_warning(record: logging.LogRecord) -> bool:
    """Return whether a record is a warning, or worse, that a user can act on."""
    return record.levelno >= logging.WARNING and record.name != LIBRARY_WARNINGS


@contextlib.contextmanager
def showing_progress(verbose: bool = False, main_process: bool = True) -> Iterator[None]:
    """Within the block, show progress and warnings on stderr, unless the program has set up its logging itself.

    Args:
        verbose: whether to show all that is logged.
        main_process: whether this is the first of several processes; the others show errors only.
    """
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = TerminalHandler(verbose)
    handler.setLevel(logging.NOTSET if main_process else logging.ERROR)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.removeHandler(handler)


@contextlib.contextmanager
def run_log() -> Iterator[RunLog]:
    """Within the block, keep what is logged; :meth:`RunLog.open` says where."""
    root = logging.getLogger()
    log, level = RunLog(), root.level
    root.addHandler(log)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(level)
        log.close()


def progress_bar(total: int, description: str, shown: bool) -> tqdm:
    """Return a bar that is redrawn in place and disappears, on a terminal; with ``--verbose`` it is shown everywhere and stays.

    Args:
        total: the number of steps.
        description: the text before the bar.
        shown: whether a bar is wanted at all.
    """
    verbose = is_verbose()
    hidden = not shown or not (verbose or sys.stderr.isatty())
    return tqdm(total=total, desc=description, leave=verbose, disable=hidden)


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as ``4 min 10 s``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def is_verbose() -> bool:
    """Return whether all that is logged is shown."""
    terminal = _find_terminal()
    return terminal is not None and terminal.verbose


def _find_terminal() -> TerminalHandler | None:
    return next((handler for handler in logging.getLogger().handlers if isinstance(handler, TerminalHandler)), None)
