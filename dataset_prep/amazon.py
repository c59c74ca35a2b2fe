"""Amazon reviews of 2014 (McAuley): ratings only, or reviews, with the products' metadata.

``ratings_CATEGORY.csv``: ``user,asin,rating,unixtime``, no header. ``reviews_CATEGORY.json.gz`` and the 5-core
``reviews_CATEGORY_5.json.gz``: JSON lines with ``reviewerID, asin, overall, unixReviewTime``. ``meta_CATEGORY.json.gz``: lines
are Python literals. Format: http://jmcauley.ucsd.edu/data/amazon/; totals: the same page for Beauty and Video Games.
"""

from __future__ import annotations

import ast
import json
from argparse import Namespace
from collections.abc import Iterator

import pyarrow as pa

from dataset_prep.archive import Member, Raw
from dataset_prep.atomic import identifier
from dataset_prep.origins import AMAZON, AMAZON_PAGE
from dataset_prep.rows import ID, NUMBER, WHOLE, BadRows, Layout, lines, number
from dataset_prep.source import Feature, Source

NAMES = AMAZON
TOTALS = {
    "ratings_Beauty.csv": {"users": 1_210_271, "items": 249_274, "interactions": 2_023_070},
    "reviews_Beauty_5.json": {"users": 22_363, "items": 12_101, "interactions": 198_502},
    "ratings_Video_Games.csv": {"users": 826_767, "items": 50_210, "interactions": 1_324_753},
    "reviews_Video_Games_5.json": {"users": 24_303, "items": 10_672, "interactions": 231_780},
}

RATINGS = Layout({"user": ID, "asin": ID, "rating": NUMBER, "unixtime": WHOLE})
REVIEW = Layout({"reviewerID": ID, "asin": ID, "overall": NUMBER, "unixReviewTime": WHOLE})
ROWS = 100_000  # reviews a table

COLUMNS = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
PRODUCT = (
    *("item_id:token", "title:token", "categories:token_seq", "brand:token", "sales_type:token"),
    *("sales_rank:float", "price:float"),
)


def getting(name: str) -> str:
    """Where the raw data are."""
    category = NAMES[name]
    return (
        f"get reviews_{category}_5.json.gz (5-core) or ratings_{category}.csv, and meta_{category}.json.gz, "
        f"from {AMAZON_PAGE}"
    )


def open_source(raw: Raw, options: Namespace, bad: BadRows) -> Source:
    """Raises FileNotFoundError when there are no ratings, ValueError when there are several kinds of them."""
    category = NAMES[options.source]
    files = (f"ratings_{category}.csv", f"reviews_{category}_5.json", f"reviews_{category}.json")
    found = [member for file in files if (member := raw.find(file))]
    if not found:
        raise FileNotFoundError(f"{raw.path} holds none of {', '.join(files)}; {getting(options.source)}")
    if len(found) > 1:
        raise ValueError(f"{raw.path} holds {' and '.join(m.name for m in found)}; point --raw at one of them")
    log, meta = found[0], raw.find(f"meta_{category}.json")
    tables = RATINGS.tables(log, bad) if log.name.endswith(".csv") else _reviews(log, bad)
    features = {"item": Feature(PRODUCT, _products(meta, bad))} if meta else {}
    events = (table.rename_columns(list(COLUMNS)) for table in tables)
    totals = TOTALS.get(log.name.rpartition("/")[2], {})
    return Source([m for m in (log, meta) if m], events, COLUMNS, features, totals)


def _reviews(member: Member, bad: BadRows) -> Iterator[pa.Table]:
    rows = []
    for line, text in lines(member):
        try:
            rows.append(_review(text))
        except ValueError as error:
            bad.report(member, line, error)
        if len(rows) == ROWS:
            yield REVIEW.table(rows)
            rows = []
    yield REVIEW.table(rows)


def _review(text: bytes) -> list:
    try:
        review = json.loads(text)
        values = [str(review[name]) for name in REVIEW.fields]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"expected JSON with {', '.join(REVIEW.fields)}: {error!r}") from None
    return REVIEW.parse(values)


def _products(member: Member, bad: BadRows) -> Iterator[list[str]]:
    for line, text in lines(member):
        try:
            yield _product(ast.literal_eval(text.decode("utf-8")))
        except (ValueError, SyntaxError, KeyError, TypeError, AttributeError, MemoryError, RecursionError) as error:
            bad.report(member, line, f"expected a Python dict with asin: {error!r}")


def _product(product: dict) -> list[str]:
    kind, rank = next(iter(product.get("salesRank", {}).items()), ("", ""))
    categories = dict.fromkeys(name.replace(" ", "_") for path in product.get("categories", []) for name in path)
    title, brand, price = (product.get(key) for key in ("title", "brand", "price"))
    numbers = ("" if value in (None, "") else number(str(value)) for value in (rank, price))
    return [identifier(product["asin"]), title or "", " ".join(categories), brand or "", kind, *numbers]
