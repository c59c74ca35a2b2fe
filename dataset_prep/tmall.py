"""Tmall (Alibaba Tianchi): the logs of the IJCAI-16 and IJCAI-15 contests.

ijcai16: ``ijcai2016_taobao.csv`` ``use_ID,sel_ID,ite_ID,cat_ID,act_ID,time``, time ``yyyymmdd``, action 0 click, 1 buy:
RecBole's tmall-click and tmall-buy. ijcai15: ``user_log_format1.csv``
``user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type``, time ``mmdd``, action 0 click, 1 cart, 2 buy,
3 favourite, brands may be missing. It gives no year; 2014, the year before the contest, is written.

Days become seconds at midnight in UTC, which float32 holds exactly; ``yyyymmdd`` itself it would not. All rows of a user and
an item are kept, unless ``--dedup`` says which.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from dataset_prep.archive import Member, Raw
from dataset_prep.origins import ORIGINS
from dataset_prep.rows import DIGITS, WHOLE, BadRows, Kind, Layout, day, whole_number
from dataset_prep.source import Source

NAMES = ["tmall"]
YEAR_OF_IJCAI15 = "2014"
ACTIONS = {"ijcai16": ("click", "buy"), "ijcai15": ("click", "cart", "buy", "favourite")}
TOTALS = {
    ("ijcai16", "click"): {"users": 626_041, "items": 2_200_291, "interactions": 35_179_371},
    ("ijcai16", "buy"): {"users": 885_759, "items": 1_144_124, "interactions": 9_348_756},
    ("ijcai16", "all"): {"users": 963_923, "items": 2_353_207, "interactions": 44_528_127},
}
"""As RecBole's data-set list gives them."""

FILES = {
    "ijcai16": ("ijcai2016_taobao.csv", ORIGINS["tmall"].page, ORIGINS["tmall"].file),
    "ijcai15": ("user_log_format1.csv", "https://tianchi.aliyun.com/dataset/42", "data_format1.zip"),
}


def _action(variant: str) -> Kind:
    names = ACTIONS[variant]

    def parse(text: str) -> str:
        if text not in map(str, range(len(names))):
            raise ValueError(f"is {text!r}, not one of {', '.join(f'{i} {name}' for i, name in enumerate(names))}")
        return names[int(text)]

    return Kind(pa.string(), DIGITS, parse)


WHOLE_OR_MISSING = Kind(pa.int64(), DIGITS, lambda text: whole_number(text) if text else None)
COMPACT_DAY = Kind(pa.int64(), DIGITS, day)
MONTH_AND_DAY = Kind(pa.int64(), DIGITS, lambda text: day(YEAR_OF_IJCAI15 + text.zfill(4)))

LAYOUTS = {
    "ijcai16": Layout(
        {
            "use_ID": WHOLE,
            "sel_ID": WHOLE,
            "ite_ID": WHOLE,
            "cat_ID": WHOLE,
            "act_ID": _action("ijcai16"),
            "time": COMPACT_DAY,
        },
        header=True,
    ),
    "ijcai15": Layout(
        {
            "user_id": WHOLE,
            "item_id": WHOLE,
            "cat_id": WHOLE,
            "seller_id": WHOLE,
            "brand_id": WHOLE_OR_MISSING,
            "time_stamp": MONTH_AND_DAY,
            "action_type": _action("ijcai15"),
        },
        header=True,
    ),
}
FIELDS = {
    "ijcai16": ("user_id", "seller_id", "item_id", "category_id", "action", "timestamp"),
    "ijcai15": ("user_id", "item_id", "category_id", "seller_id", "brand_id", "timestamp", "action"),
}


def getting(name: str) -> str:
    """Where the raw data are."""
    return "; ".join(
        f"{variant}: register at {page} and get {archive}" for variant, (_, page, archive) in FILES.items()
    )


def add_arguments(parser: ArgumentParser) -> None:
    """Which contest's log, and which of its actions."""
    parser.add_argument("--variant", choices=list(FILES), default="ijcai16", help="default: ijcai16")
    actions = ["click", "cart", "buy", "favourite", "all"]
    parser.add_argument("--action", choices=actions, default="click", help="default: click")


def open_source(raw: Raw, options: Namespace, bad: BadRows) -> Source:
    """Raises FileNotFoundError when the log is missing, ValueError for an action that it does not have."""
    file, variant, action = FILES[options.variant][0], options.variant, options.action
    if action not in (*ACTIONS[variant], "all"):
        raise ValueError(f"{variant} has no action {action}: choose from {', '.join(ACTIONS[variant])} and all")
    log = raw.find(file)
    if log is None:
        raise FileNotFoundError(f"{raw.path} holds no {file}; {getting('tmall')}")
    columns = dict.fromkeys(FIELDS[variant], "token")
    columns["timestamp"] = "float"
    if action != "all":
        del columns["action"]
    return Source([log], _events(log, variant, action, bad), columns, totals=TOTALS.get((variant, action), {}))


def _events(log: Member, variant: str, action: str, bad: BadRows) -> Iterator[pa.Table]:
    for table in LAYOUTS[variant].tables(log, bad):
        table = table.rename_columns(list(FIELDS[variant]))
        yield table if action == "all" else table.filter(pc.equal(table["action"], action))
