"""Refuse a flag that is given twice with different values. By itself, argparse keeps the last value without a word."""

from __future__ import annotations

import argparse


class StoreOnce(argparse.Action):
    """Store the value of a flag; refuse a second value that differs from the first."""

    filled: argparse.Namespace | None = None
    """The namespace that has the flag's value, which tells a second value from the first one of another parsing."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Store ``values`` in the namespace."""
        if self.filled is namespace:
            first = getattr(namespace, self.dest)
            if values != first:
                raise argparse.ArgumentError(
                    self, f"is given twice, as {str(first)!r} and {str(values)!r}; give one value"
                )
        self.filled = namespace
        setattr(namespace, self.dest, values)


def refuse_repeats(parser: argparse.ArgumentParser) -> None:
    """Make :class:`StoreOnce` the default action of the arguments that are added to ``parser`` after this call."""
    parser.register("action", None, StoreOnce)
    parser.register("action", "store", StoreOnce)
