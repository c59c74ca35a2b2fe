"""Where the raw files of each dataset can be obtained: the only place for download addresses.

Imports the standard library only, so that another program can read it without DuckDB and PyArrow.
"""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """The file to pass to ``--raw``, and the web page that offers it."""

    file: str
    page: str


MOVIELENS = ("ml-1m", "ml-20m", "ml-25m", "ml-32m", "ml-latest", "ml-latest-small")
"""Datasets that ``--download`` can fetch."""

MOVIELENS_PAGE = "https://grouplens.org/datasets/movielens/"
MOVIELENS_FILES = "https://files.grouplens.org/datasets/movielens"
"""Folder of ``NAME.zip`` and ``NAME.zip.md5``."""

AMAZON_CATEGORIES = [
    "Books",
    "Electronics",
    "Movies_and_TV",
    "CDs_and_Vinyl",
    "Clothing_Shoes_and_Jewelry",
    "Home_and_Kitchen",
    "Kindle_Store",
    "Sports_and_Outdoors",
    "Cell_Phones_and_Accessories",
    "Health_and_Personal_Care",
    "Toys_and_Games",
    "Video_Games",
    "Tools_and_Home_Improvement",
    "Beauty",
    "Apps_for_Android",
    "Office_Products",
    "Pet_Supplies",
    "Automotive",
    "Grocery_and_Gourmet_Food",
    "Patio_Lawn_and_Garden",
    "Baby",
    "Digital_Music",
    "Musical_Instruments",
    "Amazon_Instant_Video",
]
AMAZON = {
    "amazon-" + category.removeprefix("Amazon_").lower().replace("_", "-"): category for category in AMAZON_CATEGORIES
}
"""Dataset name to the category in Amazon's file names."""

AMAZON_PAGE = "http://jmcauley.ucsd.edu/data/amazon/"

ORIGINS = {
    **{name: Origin(f"{name}.zip", MOVIELENS_PAGE) for name in MOVIELENS},
    "netflix": Origin("archive.zip", "https://www.kaggle.com/datasets/netflix-inc/netflix-prize-data"),
    "tmall": Origin("IJCAI16_data.zip", "https://tianchi.aliyun.com/dataset/53"),
    "lfm-1b": Origin("LFM-1b.zip", "http://www.cp.jku.at/datasets/LFM-1b/"),
    **{name: Origin(f"reviews_{category}_5.json.gz", AMAZON_PAGE) for name, category in AMAZON.items()},
}
"""Dataset name to its origin; for Amazon the smaller 5-core file, for Tmall the IJCAI-16 log."""

TMALL_IJCAI15 = Origin("data_format1.zip", "https://tianchi.aliyun.com/dataset/42")
"""Origin of ``tmall --variant ijcai15``."""


def how_to_get(name: str) -> str:
    """Return the sentence that tells a user how to get the raw files of a dataset in :data:`ORIGINS`."""
    file, page = ORIGINS[name]
    if name in MOVIELENS:
        return f"get {file} from {page}, or add --download"
    if name in AMAZON:
        category = AMAZON[name]
        return f"get {file} (5-core) or ratings_{category}.csv, and meta_{category}.json.gz, from {page}"
    if name == "netflix":
        parts = "combined_data_1.txt to combined_data_4.txt, movie_titles.csv"
        return f"register at {page} and get {file} ({parts}), or point --raw at training_set.tar"
    if name == "tmall":
        older_file, older_page = TMALL_IJCAI15
        return f"ijcai16: register at {page} and get {file}; ijcai15: register at {older_page} and get {older_file}"
    return f"get {file} from {page}"
