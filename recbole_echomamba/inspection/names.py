"""Name the modules of a model as a reader would."""

from __future__ import annotations

READABLE = {
    "filter": "spectral filter",
    "mamba": "Mamba",
    "forward_mamba": "forward Mamba",
    "backward_mamba": "backward Mamba",
}


def describe_module(name: str) -> str:
    """Return a readable name: ``blocks.0.pairs.1.forward_mamba`` is ``block 1, pair 2, forward Mamba``."""
    words: list[str] = []
    for part in name.split("."):
        if part.isdigit() and words:
            words[-1] = f"{words[-1].removesuffix('s')} {int(part) + 1}"
        else:
            words.append(READABLE.get(part, part.replace("_", " ")))
    return ", ".join(words)
