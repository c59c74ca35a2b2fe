"""Amazon reviews of 2014 (McAuley): ratings only or reviews, with the metadata of the products where present.

``ratings_CATEGORY.csv``: ``user,asin,rating,unixtime``, no header. ``reviews_CATEGORY.json.gz`` and the 5-core
``reviews_CATEGORY_5.json.gz``: one JSON object a line with ``reviewerID, asin, overall, unixReviewTime``.
``meta_CATEGORY.json.gz``: one Python dict a line. Format, and totals of Beauty and Video Games:
http://jmcauley.ucsd.edu/data/amazon/.
"""

from __future__ import annotations

import ast
import json
from argparse import Namespace

from dataset_prep.atomic_file import check_identifier
from dataset_prep.errors import MissingFileError, PreparationError
from dataset_prep.fields import IDENTIFIER, NUMBER, WHOLE_NUMBER, check_number
from dataset_prep.origins import AMAZON, how_to_get
from dataset_prep.raw_files import RawFiles
from dataset_prep.rows import Layout, MalformedRows, parse_rows, read_lines
from dataset_prep.source import Feature, Source

NAMES = list(AMAZON)
TOTALS = {
    "ratings_Beauty.csv": {"users": 1_210_271, "items": 249_274, "interactions": 2_023_070},
    "reviews_Beauty_5.json": {"users": 22_363, "items": 12_101, "interactions": 198_502},
    "ratings_Video_Games.csv": {"users": 826_767, "items": 50_210, "interactions": 1_324_753},
    "reviews_Video_Games_5.json": {"users": 24_303, "items": 10_672, "interactions": 231_780},
}

RATINGS = Layout({"user": IDENTIFIER, "asin": IDENTIFIER, "rating": NUMBER, "unixtime": WHOLE_NUMBER})
REVIEWS = Layout({"reviewerID": IDENTIFIER, "asin": IDENTIFIER, "overall": NUMBER, "unixReviewTime": WHOLE_NUMBER})

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
    found = [file for name in names if (file := raw_files.find(name))]
    if not found:
        raise MissingFileError(f"{raw_files.path} holds none of {', '.join(names)}; {how_to_get(options.source)}")
    if len(found) > 1:
        both = " and ".join(file.name for file in found)
        raise PreparationError(f"{raw_files.path} holds {both}; point --raw at one of them")
    log = found[0]
    if log.name.endswith(".csv"):
        tables = RATINGS.read_tables(log, malformed)
    else:
        tables = REVIEWS.to_tables(parse_rows(log, read_lines(log), _parse_review, malformed))
    events = (table.rename_columns(list(COLUMNS)) for table in tables)
    totals = TOTALS.get(log.name.rpartition("/")[2], {})
    metadata = raw_files.find(f"meta_{category}.json")
    if metadata is None:
        return Source([log], events, COLUMNS, totals=totals)
    products = parse_rows(metadata, read_lines(metadata), _parse_product, malformed)
    return Source([log, metadata], events, COLUMNS, {"item": Feature(PRODUCT_HEADER, products)}, totals)


def _parse_review(line: bytes) -> list:
    try:
        review = json.loads(line)
        texts = [str(review[name]) for name in REVIEWS.fields]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"expected JSON with {', '.join(REVIEWS.fields)}: {error!r}") from None
    return REVIEWS.parse_fields(texts)


def _parse_product(line: bytes) -> list[str]:
    try:
        return _product_row(ast.literal_eval(line.decode("utf-8")))
    except (ValueError, SyntaxError, KeyError, TypeError, AttributeError, MemoryError, RecursionError) as error:
        raise ValueError(f"expected a Python dict with asin: {error!r}") from None


def _product_row(product: dict) -> list[str]:
    title = str(product.get("title") or "")
    brand = str(product.get("brand") or "")
    # Several paths may share a category; a dict keeps the first of each, in order.
    categories = dict.fromkeys(name.replace(" ", "_") for path in product.get("categories", []) for name in path)
    sales_type, sales_rank = next(iter(product.get("salesRank", {}).items()), ("", ""))
    return [
        check_identifier(product["asin"]),
        title,
        " ".join(categories),
        brand,
        str(sales_type),
        _number_or_empty(sales_rank),
        _number_or_empty(product.get("price")),
    ]


def _number_or_empty(value: object) -> str:
    return "" if value in (None, "") else check_number(str(value))
