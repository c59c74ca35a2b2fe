"""Count the outcomes of an attack, and tell a clear refusal from a crash."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dataset_prep.errors import PreparationError
from recbole_echomamba.system.errors import MissingFileError, UserError

OUTCOMES = ("survived", "silent", "crashed", "hung")
REFUSALS = (UserError, MissingFileError, PreparationError)
SECONDS_TO_HANG = 60
MAX_EXAMPLES = 5


class Hung(BaseException):
    """An input took longer than :data:`SECONDS_TO_HANG`; no ``except Exception`` may catch it."""


@dataclass
class Tally:
    """The outcomes of one promise.

    Attributes:
        promise: what must hold, in words.
        counts: how often each of :data:`OUTCOMES` happened.
        examples: inputs that did not survive, with the reason.
        reached: the places in the code that refused an input, as ``file:line``.
    """

    promise: str
    counts: Counter = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)

    def add(self, outcome: str, example: object, reason: str = "") -> None:
        """Count an outcome, and keep the first inputs that did not survive."""
        self.counts[outcome] += 1
        if outcome != "survived" and len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{outcome}: {str(example)[:300]!r}: {reason}")

    @property
    def tried(self) -> int:
        """The number of inputs."""
        return sum(self.counts.values())

    def as_row(self) -> list[str]:
        """Return the row of the table: promise, tried and the count of each outcome."""
        return [self.promise, f"{self.tried:,}", *(f"{self.counts[outcome]:,}" for outcome in OUTCOMES)]


def attempt(tally: Tally, example: object, action: Callable[..., str | None], *arguments: object) -> None:
    """Call ``action`` with ``arguments`` and count the outcome.

    A refusal in one line survives. So does an action that returns ``None``; a text that it returns says which wrong number it
    gave without a word.
    """
    try:
        with hang_after(SECONDS_TO_HANG):
            wrong = action(*arguments)
    except REFUSALS as refusal:
        frame = traceback.extract_tb(refusal.__traceback__)[-1]
        tally.reached.add(f"{frame.filename}:{frame.lineno}")
        clear = str(refusal).strip() and "\n" not in str(refusal)
        tally.add("survived" if clear else "crashed", example, f"a refusal of several lines: {str(refusal)[:200]!r}")
    except Hung:
        tally.add("hung", example)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        tally.add("crashed", example, f"{type(error).__name__}: {str(error)[:200]} ({frame.filename}:{frame.lineno})")
    else:
        tally.add("silent" if wrong else "survived", example, wrong or "")


@contextlib.contextmanager
def hang_after(seconds: float) -> Iterator[None]:
    """Raise :class:`Hung` within the block after so many seconds."""

    def give_up(number, frame):
        raise Hung

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the warnings that are logged or issued within the block."""
    words: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record):
            words.append(record.getMessage())

    collector = Collector(level=logging.WARNING)
    logging.getLogger().addHandler(collector)
    try:
        with warnings.catch_warnings(record=True) as issued:
            warnings.simplefilter("always", UserWarning)
            yield words
            words.extend(str(each.message) for each in issued)
    finally:
        logging.getLogger().removeHandler(collector)


@dataclass
class Budget:
    """How many inputs an attack may try, and until when.

    Attributes:
        most: the number of inputs.
        deadline: the time on the monotonic clock after which no other input is tried.
    """

    most: int
    deadline: float

    def part(self, index: int, parts: int) -> Budget:
        """Return the budget of one of several attacks that share what is left, in order."""
        now = time.monotonic()
        return Budget(-(-self.most // parts), now + (self.deadline - now) / (parts - index))

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.deadline


def tabulate(tallies: list[Tally]) -> str:
    """Return the outcomes as a table in Markdown."""
    rows = [["promise", "tried", *OUTCOMES], ["---", *["---:"] * (len(OUTCOMES) + 1)]]
    rows += [tally.as_row() for tally in tallies]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_json(tallies: list[Tally], **facts) -> str:
    """Return the outcomes, the examples and ``facts`` as JSON."""
    entries = [
        {
            "promise": tally.promise,
            "tried": tally.tried,
            **{outcome: tally.counts[outcome] for outcome in OUTCOMES},
            "refusals reached": len(tally.reached),
            "examples": tally.examples,
        }
        for tally in tallies
    ]
    return json.dumps({**facts, "promises": entries}, indent=1) + "\n"
