"""Damage the bytes of a file in ways that a parser may take for something else."""

from __future__ import annotations

import random

WORDS = [
    b"\t", b"\n", b"\r\n", b"\r", b",", b"::", b":", b'"', b"'", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b" ",
    b"NaN", b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"0x10", b"1_000", b"99999999999999999999", b"1e-400", b"+5",
    b"null", b"None", b"NA", b"true", b"[PAD]", b"{", b"}", b"[", b"]", b"(", b"&a", b"*a", b"!!python/object:os.system", b"#",
    b"%", b"../x", b"\\", b"<img src=x>", b"=1+1", b"\xe9", "\xe9".encode(), "\uff11".encode(), "\u0663".encode(),
]  # fmt: skip
"""Pieces that mean something to a parser of numbers, tables, YAML, paths or pages."""


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Return ``content`` with one to three pieces changed."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        at = draw.randrange(len(changed) + 1)
        end = min(len(changed), at + draw.randrange(1, 40))
        kind = draw.choice(["word", "word", "word", "replace", "delete", "repeat", "flip", "truncate", "line"])
        if kind == "word":
            changed[at:at] = draw.choice(WORDS)
        elif kind == "replace":
            changed[at:end] = draw.choice(WORDS)
        elif kind == "delete":
            del changed[at:end]
        elif kind == "repeat":
            changed[at:at] = changed[at:end] * draw.randrange(1, 4)
        elif kind == "flip" and at < len(changed):
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == "truncate":
            del changed[at:]
        elif kind == "line":
            lines = changed.split(b"\n")
            line = draw.randrange(len(lines))
            lines.insert(draw.randrange(len(lines)), lines[line])
            changed = bytearray(b"\n".join(lines))
    return bytes(changed)
