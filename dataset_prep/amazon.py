"""Amazon reviews (McAuley): ratings only or reviews, with the metadata of the products where present.

2014: ``ratings_CATEGORY.csv``: ``user,asin,rating,unixtime``, no header. ``reviews_CATEGORY.json.gz`` and the 5-core
``reviews_CATEGORY_5.json.gz``: one JSON object a line with ``reviewerID, asin, overall, unixReviewTime``.
``meta_CATEGORY.json.gz``: one Python dict a line. Format, and totals of Beauty and Video Games:
http://jmcauley.ucsd.edu/data/amazon/.

2018: ``CATEGORY.csv``: ``asin,user,rating,unixtime``, no header. ``CATEGORY.json.gz`` and ``CATEGORY_5.json.gz`` as in 2014, but
``meta_CATEGORY.json.gz`` is JSON: https://nijianmo.github.io/amazon/. 2023: ``CATEGORY.csv.gz`` with the header
``user_id,parent_asin,rating,timestamp``; ``CATEGORY.jsonl.gz`` with these names; ``meta_CATEGORY.jsonl.gz``; times are
milliseconds, which become seconds: https://amazon-reviews-2023.github.io/. The year of a ratings file is told by its columns, not
by its name.
"""

from __future__ import annotations

import ast
import json
import re
from argparse import Namespace
from functools import partial

import pyarrow as pa

from dataset_prep.errors import MissingFileError, PreparationError, RowError
from dataset_prep.fields import (
    IDENTIFIER,
    MILLISECONDS,
    NUMBER,
    TEXT,
    UNIX_SECONDS,
    WHOLE_NUMBER,
    FieldType,
    check_number,
)
from dataset_prep.lines import read_blocks, read_lines
from dataset_prep.malformed import MalformedRows
from dataset_prep.origins import AMAZON, how_to_get
from dataset_prep.raw_files import RawFile, RawFiles
from dataset_prep.rows import Layout, parse_rows
from dataset_prep.source import Feature, Source

NAMES = list(AMAZON)
TOTALS = {
    "ratings_Beauty.csv": {"users": 1_210_271, "items": 249_274, "interactions": 2_023_070},
    "reviews_Beauty_5.json": {"users": 22_363, "items": 12_101, "interactions": 198_502},
    "ratings_Video_Games.csv": {"users": 826_767, "items": 50_210, "interactions": 1_324_753},
    "reviews_Video_Games_5.json": {"users": 24_303, "items": 10_672, "interactions": 231_780},
}

SHOWN_BYTES = 100
"""How much of a line that is no product a message shows."""

ASIN = re.compile("[0-9A-Z]{10}")
RATING = re.compile(r"[0-5](\.\d)?")

RATINGS_2014 = Layout(
    {"user": IDENTIFIER, "asin": IDENTIFIER, "rating": NUMBER, "unixtime": WHOLE_NUMBER},
    looks={"asin": ASIN, "rating": RATING, "unixtime": UNIX_SECONDS},
    origin="Amazon's ratings of 2014",
)
RATINGS_2018 = Layout(
    {"asin": IDENTIFIER, "user": IDENTIFIER, "rating": NUMBER, "unixtime": WHOLE_NUMBER},
    looks=RATINGS_2014.looks,
    origin="Amazon's ratings of 2018",
)
RATINGS_2023 = Layout(
    {"user_id": IDENTIFIER, "parent_asin": IDENTIFIER, "rating": NUMBER, "timestamp": MILLISECONDS},
    header=True,
    looks={"parent_asin": ASIN, "rating": RATING, "timestamp": re.compile(r"\d{12,13}")},
    origin="Amazon's ratings of 2023",
)
REVIEWS_2014 = Layout({"reviewerID": IDENTIFIER, "asin": IDENTIFIER, "overall": NUMBER, "unixReviewTime": WHOLE_NUMBER})
"""The reviews of 2018 have the same fields."""

REVIEWS_2023 = Layout(RATINGS_2023.fields)

COLUMNS = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
PRODUCT_HEADER = [
    "item_id:token",
    "title:token",
    "categories:token_seq",
    "brand:token",
    "sales_type:token",
    "sales_rank:float",
    "price:float",
]


def open_source(raw_files: RawFiles, options: Namespace, malformed: MalformedRows) -> Source:
    """Open the ratings or reviews of one category.

    Raises:
        MissingFileError: there are no ratings.
        PreparationError: there are several kinds of ratings.
    """
    category = AMAZON[options.source]
    names = [f"ratings_{category}.csv", f"reviews_{category}_5.json", f"reviews_{category}.json"]
    names += [f"{category}.csv", f"{category}_5.json", f"{category}.json", f"{category}.jsonl"]
    found = [file for name in names if (file := raw_files.find(name))]
    if not found:
        raise MissingFileError(f"{raw_files.label} holds none of {', '.join(names)}; {how_to_get(options.source)}")
    if len(found) > 1:
        both = " and ".join(file.name for file in found)
        raise PreparationError(f"{raw_files.label} holds {both}; point --raw at one of them")
    log = found[0]
    totals = TOTALS.get(log.name.rpartition("/")[2], {})
    notes = []
    if log.name.endswith(".csv"):
        layout = _find_layout(log)
        tables = layout.read_tables(log, malformed)
        if layout is not RATINGS_2014:
            totals = {}
            notes.append(f"{log.label} has the columns {layout.header_line} of {layout.origin}")
        if layout is RATINGS_2018:
            tables = (table.select(list(RATINGS_2014.fields)) for table in tables)
    else:
        layout = REVIEWS_2023 if log.name.endswith(".jsonl") else REVIEWS_2014
        tables = layout.to_tables(parse_rows(log, read_lines(log), partial(_parse_review, layout), malformed))
    events = (table.rename_columns(list(COLUMNS)) for table in tables)
    metadata = raw_files.find(f"meta_{category}.json") or raw_files.find(f"meta_{category}.jsonl")
    if metadata is None:
        return Source([log], [(log, events)], COLUMNS, totals=totals, notes=notes)
    products = parse_rows(metadata, read_lines(metadata), _parse_product, malformed)
    return Source([log, metadata], [(log, events)], COLUMNS, {"item": Feature(PRODUCT_HEADER, products)}, totals, notes)


def _find_layout(log: RawFile) -> Layout:
    """Return the layout of a ratings file; that of 2014, which checks its columns, unless another one fits."""
    _, block = next(read_blocks(log), (1, b""))
    if block.decode("utf-8", "replace").lstrip("\ufeff").startswith(RATINGS_2023.header_line):
        return RATINGS_2023
    rows = RATINGS_2014.split_sample(block)
    first, second = (sum(bool(ASIN.fullmatch(row[column])) for row in rows) for column in (0, 1))
    return RATINGS_2018 if 2 * second < len(rows) <= 2 * first else RATINGS_2014


def _parse_review(layout: Layout, line: bytes) -> list:
    try:
        review = json.loads(line)
        values = [review[name] for name in layout.fields]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        years = "2023" if layout is REVIEWS_2023 else "2014 or 2018"
        expected = f"expected JSON with {', '.join(layout.fields)}, as in the reviews of {years}"
        raise RowError(f"{expected}: {error!r}", expected) from None
    return layout.parse_fields([_as_text(value, name) for name, value in zip(layout.fields, values, strict=True)])


def _parse_product(line: bytes) -> list[str]:
    expected = "expected a Python dict (2014) or JSON (2018, 2023) with asin or parent_asin"
    try:
        text = line.decode("utf-8")
        try:
            # 2018 and 2023
            product = json.loads(text)
        except ValueError:
            product = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise RowError(f"{expected}: {error!r}", expected) from None
    if not isinstance(product, dict) or not {"asin", "parent_asin"} & product.keys():
        raise RowError(f"{expected}, found {line[:SHOWN_BYTES]!r}", expected)
    return _product_row(product)


def _product_row(product: dict) -> list[str]:
    item = "parent_asin" if "parent_asin" in product else "asin"
    brand = "brand" if product.get("brand") else "store"
    sales_type, sales_rank = _sales_rank(product.get("salesRank"))
    price = product.get("price")
    if isinstance(price, str):
        # 2018 and 2023 write "$9.99", and also ranges and other text, which are no price.
        price = price.removeprefix("$").replace(",", "")
        price = price if re.fullmatch(r"\d+(\.\d+)?", price, re.ASCII) else None
    texts = [
        _as_text(product[item], item),
        _as_text(product.get("title"), "title"),
        " ".join(_categories(product)),
        _as_text(product.get(brand), brand),
        sales_type,
        _as_text(sales_rank, "salesRank"),
        _as_text(price, "price"),
    ]
    return PRODUCTS.parse_fields(texts)


def _categories(product: dict) -> list[str]:
    """Return the names of the categories: 2014 has paths of names, of which several may share one; 2018 and 2023 have names."""
    name = "categories" if product.get("categories") else "category"
    paths = product.get(name) or []
    if not isinstance(paths, list | tuple):
        raise _wrong_type(name, paths, "a list")
    names = [each for path in paths for each in (path if isinstance(path, list | tuple) else [path])]
    # A dict keeps the first of each, in order.
    return list(dict.fromkeys(_as_text(each, name).replace(" ", "_") for each in names))


def _sales_rank(ranks: object) -> tuple[str, object]:
    """Return the first category in which a product is ranked, and its rank there; both are empty without a rank."""
    if not ranks:
        return "", ""
    if not isinstance(ranks, dict):
        raise _wrong_type("salesRank", ranks, "a dict")
    sales_type, rank = next(iter(ranks.items()))
    return _as_text(sales_type, "salesRank"), rank


def _as_text(value: object, name: str) -> str:
    """Return a text or number as text, and a missing value as an empty one."""
    if value is None or value == [] or value == {}:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong_type(name, value, "text or a number")
    return str(value)


def _wrong_type(name: str, value: object, expected: str) -> RowError:
    message = f"{name} is a {type(value).__name__}, not {expected}"
    return RowError(message, message)


def _number_or_empty(text: str) -> str:
    return text and check_number(text)


PRODUCTS = Layout(
    {
        "asin": IDENTIFIER,
        "title": TEXT,
        "categories": TEXT,
        "brand": TEXT,
        "sales type": TEXT,
        "salesRank": FieldType(pa.string(), b"", _number_or_empty),
        "price": FieldType(pa.string(), b"", _number_or_empty),
    }
)
"""The fields of an ``.item`` file, see :data:`PRODUCT_HEADER`."""
