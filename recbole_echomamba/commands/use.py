"""The commands that use a trained run: recommend, inspect, export and card."""

from __future__ import annotations

import argparse

from dataset_prep.words import count
from recbole_echomamba.commands.shared import add_custom_model, split_history
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable


def add_recommend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``recommend``."""
    group = parser.add_argument_group("input and output")
    group.add_argument("--run", required=True, help="run directory of the trained model")
    add_custom_model(group)
    group.add_argument(
        "--out",
        metavar="FILE",
        help="file to write, ending in .csv, .jsonl or .parquet (default: print a table; not with --all)",
    )
    group = parser.add_argument_group("users (exactly one of these)")
    users = group.add_mutually_exclusive_group(required=True)
    users.add_argument("--all", action="store_true", help="every user of the dataset")
    users.add_argument("--users", metavar="FILE", help="the users in this file, one id per line")
    users.add_argument(
        "--history",
        metavar="'ITEM ITEM ...'",
        help="a user who is not in the dataset, by their item ids, oldest first, separated by spaces; "
        'ids that hold spaces as a list, \'["an id", "another"]\'',
    )
    users.add_argument(
        "--histories",
        metavar="FILE",
        help='people who need not be in the dataset: a .jsonl file of {"user_id": ..., "items": [...]}, or a .csv or '
        ".parquet file with the columns user_id and item_id; items are oldest first",
    )
    group.add_argument("--skip-unknown", action="store_true", help="leave out unknown ids with a warning")
    group = parser.add_argument_group("items")
    group.add_argument(
        "--topk", type=int, default=10, metavar="K", help="recommendations per user (default: %(default)s)"
    )
    group.add_argument("--items", metavar="FILE", help="recommend only the items in this file, one id per line")
    group.add_argument("--exclude-seen", action="store_true", help="do not recommend items of the user's history")
    group.add_argument("--titles", action="store_true", help="add a column with titles from the .item file")


def execute_recommend(options: argparse.Namespace, settings: dict[str, str]) -> None:
    """Write recommendations to a file, or print them."""
    from recbole_echomamba.config.early_checks import check_run_directory

    check_run_directory(options.run)
    if options.out is None and options.all:
        raise UserError("--all needs --out=FILE, ending in .csv, .jsonl or .parquet")
    if options.out is not None:
        check_writable(options.out, "--out")
    from recbole_echomamba.recommendation import recommend
    from recbole_echomamba.recommendation.files import check_format, read_histories, read_ids, write_recommendations

    if options.out is not None:
        check_format(options.out)
    table = recommend(
        options.run,
        users=None if options.users is None else read_ids(options.users, "--users"),
        topk=options.topk,
        history=None if options.history is None else split_history(options.history),
        items=None if options.items is None else read_ids(options.items, "--items"),
        exclude_seen=options.exclude_seen,
        skip_unknown=options.skip_unknown,
        titles=options.titles,
        config_dict=settings,
        model=options.model,
        histories=None if options.histories is None else read_histories(options.histories),
    )
    if options.out is None:
        print(table.to_string(index=False))
        return
    write_recommendations(table, options.out)
    users = count(table["user_id"].nunique(), "user")
    print(f"wrote {count(len(table), 'recommendation')} for {users} to {options.out}")


def add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``inspect``."""
    group = parser.add_argument_group("input and output")
    group.add_argument("run", metavar="RUN", help="run directory of the trained model")
    group.add_argument(
        "other", metavar="OTHER", nargs="?", help="directory of a second run, to be shown beside the first"
    )
    add_custom_model(group)
    group.add_argument(
        "--user", metavar="ID", help="show which items of this user's history the recommendations came from"
    )
    group.add_argument("--out", metavar="FILE", help="page to write (default: RUN/inspection.html)")


def execute_inspect(options: argparse.Namespace, settings: dict[str, str]) -> None:
    """Write the page and print its path."""
    from recbole_echomamba.config.early_checks import check_run_directory

    check_run_directory(options.run)
    if options.other is not None:
        check_run_directory(options.other)
    from recbole_echomamba.inspection import inspect

    print(inspect(options.run, options.out, settings, options.model, options.other, options.user))


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    group = parser.add_argument_group("input and output")
    group.add_argument("run", metavar="RUN", help="run directory of the trained model")
    add_custom_model(group)
    group.add_argument(
        "--to", default="onnx", choices=["onnx", "torch"], help="format of the file (default: %(default)s)"
    )
    group.add_argument(
        "--topk", type=int, metavar="K", help="return the K best items with their scores (default: the scores of all)"
    )
    group.add_argument(
        "--out",
        metavar="FILE",
        help="file to write (default: model.onnx or model.pt2 in RUN); the item ids go beside it, in a .json file",
    )


def execute_export(options: argparse.Namespace, settings: dict[str, str]) -> None:
    """Write the model and print how exact it is."""
    from recbole_echomamba.config.early_checks import check_run_directory

    check_run_directory(options.run)
    from recbole_echomamba.export import export

    exported = export(options.run, options.to, options.out, options.topk, options.model, settings)
    size = exported.file.stat().st_size / 1e6
    print(
        f"wrote {exported.file} ({size:.1f} MB) and {exported.vocabulary}; "
        f"its scores differ from the model's by {exported.error:.1e} of the largest"
    )


def add_card_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``card``."""
    group = parser.add_argument_group("input and output")
    group.add_argument("run", metavar="RUN", help="run directory of the trained model")
    group.add_argument("--out", metavar="FILE", help="file to write (default: RUN/README.md, where hubs look for it)")


def execute_card(options: argparse.Namespace, settings: dict[str, str]) -> None:
    """Write the card and print its path."""
    from recbole_echomamba.config.early_checks import check_run_directory

    check_run_directory(options.run)
    if settings:
        raise UserError(f"card reads a run as it is: --{next(iter(settings))} has no meaning here")
    from recbole_echomamba.card import write_card

    print(write_card(options.run, options.out))
