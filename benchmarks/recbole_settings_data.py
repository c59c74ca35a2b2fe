"""Write a small shop with ratings, items with features, users, and the same interactions in split files."""

from __future__ import annotations

import random
from pathlib import Path

USERS, ITEMS, EVENTS = 24, 13, 9


def write_dataset(folder: Path) -> None:
    """Write the atomic files of the datasets ``shop`` and ``semicolons`` into new folders."""
    directory = folder / "shop"
    directory.mkdir(parents=True)
    rows = _draw_rows()
    inter = [f"u{user}\ti{item}\t{rating}\t{time}\ti{before}" for user, item, rating, time, before in rows]
    _write(directory / "shop.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\tviewed:token", inter)
    (folder / "semicolons").mkdir()
    lines = [f"u{user};i{item};{time}" for user, item, _, time, _ in rows]
    _write(folder / "semicolons" / "semicolons.inter", "user_id:token;item_id:token;timestamp:float", lines)
    items = [f"i{item}\t{item + 0.5}\tk{item % 3}\tred word{item % 4} word" for item in range(ITEMS)]
    _write(directory / "shop.item", "item_id:token\tprice:float\tkind:token\twords:token_seq", items)
    users = [f"u{user}\t{20 + user}" for user in range(USERS - 2)]
    _write(directory / "shop.user", "user_id:token\tage:float", users)
    vectors = [f"i{item}\t" + " ".join(str(0.01 * (item + slot)) for slot in range(8)) for item in range(ITEMS)]
    _write(directory / "shop.vector", "vector_id:token\tvector:float_seq", vectors)
    for part, name in enumerate(("train", "valid", "test")):
        lists = [_describe_history([row for row in rows if row[0] == user], part) for user in range(USERS)]
        _write(directory / f"shop.{name}.inter", "user_id:token\titem_id_list:token_seq\titem_id:token", lists)


def _draw_rows() -> list[tuple[int, int, int, int, int]]:
    """Return user, item, rating, time and another item of each interaction; some pairs are repeated, the last item is rare."""
    generator = random.Random(0)
    rows = [(0, ITEMS - 1, 3, 50, 0)]
    for user in range(USERS):
        for step in range(EVENTS - user % 4):
            item = (user + step - step // 7 * 2) % (ITEMS - 1)
            rows.append((user, item, generator.randint(1, 5), 100 * step + user, generator.randrange(ITEMS)))
    generator.shuffle(rows)
    return rows


def _describe_history(rows: list[tuple[int, int, int, int, int]], part: int) -> str:
    items = [f"i{item}" for _, item, _, _, _ in sorted(rows, key=lambda row: row[3])]
    end = len(items) - 3 + part
    return f"u{rows[0][0]}\t{' '.join(items[:end])}\t{items[end]}"


def _write(file: Path, header: str, lines: list[str]) -> None:
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
