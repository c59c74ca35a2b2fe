"""Write numbers with the words that they count."""

from __future__ import annotations


def count(number: int, word: str, plural: str = "") -> str:
    """Return a number, with commas between thousands, and the word that it counts.

    Args:
        number: how many.
        word: the singular, such as ``user``.
        plural: the plural, where it is not the singular with an s.
    """
    return f"{number:,} {word if number == 1 else plural or word + 's'}"
