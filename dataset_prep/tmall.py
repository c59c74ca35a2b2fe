"""Tmall (Alibaba Tianchi): the logs of the IJCAI-16 and IJCAI-15 contests.

ijcai16: ``ijcai2016_taobao.csv`` ``use_ID,sel_ID,ite_ID,cat_ID,act_ID,time``, time ``yyyymmdd``, action 0 click, 1 buy:
RecBole's tmall-click and tmall-buy. ijcai15: ``user_log_format1.csv``
``user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type``, time ``mmdd``, action 0 click, 1 cart, 2 buy,
3 favourite, brands may be missing. That log has no year; 2014, the year before the contest, is used.

Days become seconds at midnight in UTC, which float32 represents exactly; ``yyyymmdd`` itself would be rounded. All rows of a
user and an item are kept unless ``--dedup`` is given.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from dataset_prep.errors import MissingFileError, PreparationError, RowError
from dataset_prep.fields import DIGITS, WHOLE_NUMBER, FieldType, parse_date, parse_whole_number
from dataset_prep.malformed import MalformedRows
from dataset_prep.origins import how_to_get
from dataset_prep.raw_files import RawFile, RawFiles
from dataset_prep.rows import Layout
from dataset_prep.source import Source

NAMES = ["tmall"]
YEAR_OF_IJCAI15 = "2014"
ACTIONS = {"ijcai16": ["click", "buy"], "ijcai15": ["click", "cart", "buy", "favourite"]}
"""Names of the actions 0, 1, ... in the raw logs."""

TOTALS = {
    ("ijcai16", "click"): {"users": 626_041, "items": 2_200_291, "interactions": 35_179_371},
    ("ijcai16", "buy"): {"users": 885_759, "items": 1_144_124, "interactions": 9_348_756},
    ("ijcai16", "all"): {"users": 963_923, "items": 2_353_207, "interactions": 44_528_127},
}
"""As in RecBole's list of datasets."""

LOG_FILES = {"ijcai16": "ijcai2016_taobao.csv", "ijcai15": "user_log_format1.csv"}


def _action_type(variant: str) -> FieldType:
    names = {str(number): name for number, name in enumerate(ACTIONS[variant])}

    def parse(text: str) -> str:
        if text not in names:
            choices = ", ".join(f"{number} {name}" for number, name in names.items())
            raise RowError(f"is {text!r}, not one of {choices}", "is not one of the actions")
        return names[text]

    return FieldType(pa.string(), DIGITS, parse)


def _parse_optional_number(text: str) -> int | None:
    return parse_whole_number(text) if text else None


def _parse_month_and_day(text: str) -> int:
    return parse_date(YEAR_OF_IJCAI15 + text.zfill(4))


OPTIONAL_NUMBER = FieldType(pa.int64(), DIGITS, _parse_optional_number)
COMPACT_DATE = FieldType(pa.int64(), DIGITS, parse_date)
MONTH_AND_DAY = FieldType(pa.int64(), DIGITS, _parse_month_and_day)

LAYOUTS = {
    "ijcai16": Layout(
        {
            "use_ID": WHOLE_NUMBER,
            "sel_ID": WHOLE_NUMBER,
            "ite_ID": WHOLE_NUMBER,
            "cat_ID": WHOLE_NUMBER,
            "act_ID": _action_type("ijcai16"),
            "time": COMPACT_DATE,
        },
        header=True,
    ),
    "ijcai15": Layout(
        {
            "user_id": WHOLE_NUMBER,
            "item_id": WHOLE_NUMBER,
            "cat_id": WHOLE_NUMBER,
            "seller_id": WHOLE_NUMBER,
            "brand_id": OPTIONAL_NUMBER,
            "time_stamp": MONTH_AND_DAY,
            "action_type": _action_type("ijcai15"),
        },
        header=True,
    ),
}
COLUMN_NAMES = {
    "ijcai16": ["user_id", "seller_id", "item_id", "category_id", "action", "timestamp"],
    "ijcai15": ["user_id", "item_id", "category_id", "seller_id", "brand_id", "timestamp", "action"],
}
"""Names of the raw fields in the ``.inter`` file, in the order of :data:`LAYOUTS`."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options that choose a contest and its actions."""
    parser.add_argument("--variant", choices=list(LOG_FILES), default="ijcai16", help="contest (default: ijcai16)")
    choices = [*ACTIONS["ijcai15"], "all"]
    parser.add_argument("--action", choices=choices, default="click", help="action to keep (default: click)")


def open_source(raw_files: RawFiles, options: Namespace, malformed: MalformedRows) -> Source:
    """Open the log of one contest.

    Raises:
        MissingFileError: the log is missing.
        PreparationError: the log does not have the chosen action.
    """
    variant, action = options.variant, options.action
    if action not in (*ACTIONS[variant], "all"):
        choices = ", ".join(ACTIONS[variant])
        raise PreparationError(f"--action {action}: {variant} has no such action; choose from {choices} and all")
    log = raw_files.find(LOG_FILES[variant])
    if log is None:
        raise MissingFileError(f"{raw_files.label} holds no {LOG_FILES[variant]}; {how_to_get('tmall')}")
    columns = dict.fromkeys(COLUMN_NAMES[variant], "token")
    columns["timestamp"] = "float"
    if action != "all":
        del columns["action"]
    events = _read_tables(log, variant, action, malformed)
    return Source([log], [(log, events)], columns, totals=TOTALS.get((variant, action), {}))


def _read_tables(log: RawFile, variant: str, action: str, malformed: MalformedRows) -> Iterator[pa.Table]:
    for table in LAYOUTS[variant].read_tables(log, malformed):
        table = table.rename_columns(COLUMN_NAMES[variant])
        if action == "all":
            yield table
            continue
        chosen = table.filter(pc.equal(table["action"], action))
        malformed.filtered += len(table) - len(chosen)
        yield chosen
