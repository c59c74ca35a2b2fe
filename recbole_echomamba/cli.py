"""The doors of daily work: ``compare``, ``tune``, ``recommend`` and ``inspect``, from arguments to one call each."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from recbole_echomamba.system.errors import UserError

SETTINGS = "Any setting of RecBole or of this package can follow as --key=value."


def settings_from(arguments: list[str]) -> dict[str, str]:
    """``--key=value`` arguments as a dictionary; the value may hold further ``=``. Raises ValueError for anything else."""
    settings: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or not key:
            raise UserError(f"cannot read {argument!r}; settings are written --key=value")
        if settings.setdefault(key, value) != value:
            raise UserError(f"--{key} is given twice, as {settings[key]!r} and {value!r}")
    return settings


def names_from(text: str | None) -> list[str]:
    """Words separated by commas or spaces."""
    return (text or "").replace(",", " ").split()


def table(result: dict) -> str:
    """The metrics of a result, best validation beside test, and where the run is kept."""
    from texttable import Texttable

    head = f"{result['model']} on {result['dataset']}, seed {result['seed']}, settings {result['config_hash']}"
    cost, kept = f"{result['seconds_per_epoch']:.1f} s an epoch", f"kept in {result['run_directory']}"
    if not result["test_result"]:
        return f"\n{head}: {result['epochs']} epochs, {cost}; nothing was held out to test\n{kept}"
    rows = [["metric", "best valid", "test"]]
    rows += [[name, result["best_valid_result"].get(name, ""), value] for name, value in result["test_result"].items()]
    drawn = Texttable()
    drawn.set_deco(Texttable.HEADER)
    drawn.set_cols_dtype(["t", "t", "t"])
    drawn.set_cols_align(["l", "r", "r"])
    drawn.add_rows([[str(cell) for cell in row] for row in rows])
    best = f"best after {result['best_epoch'] + 1} of {result['epochs']} epochs"
    return f"\n{head}: {best}, {cost}, {result['users_per_second']:.0f} users/s tested\n{drawn.draw()}\n{kept}"


def compare_parser() -> argparse.ArgumentParser:
    """Models, seeds and where the report goes."""
    parser = _parser("run_compare.py", "Compare models on the same data, split, loss and budget.")
    parser.add_argument("--models", required=True, help="separated by commas; the first is under test")
    parser.add_argument("--dataset", "-d", required=True)
    parser.add_argument("--seeds", default="2020", help="separated by commas")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="NAME:KEY=VALUE,...", help="of the first model"
    )
    parser.add_argument("--config_files", help="YAML files, separated by spaces or commas; later ones win")
    parser.add_argument("--out", help="folder of the runs and the report; results/DATASET by default")
    parser.add_argument("--latex", action="store_true", help="write report.tex too")
    parser.add_argument("--only-finished", action="store_true", help="run nothing; report on what is there")
    return parser


def compare_door(arguments: list[str]) -> None:
    """Run what has no result yet, then write the report."""
    known, rest = compare_parser().parse_known_args(arguments)
    settings = settings_from(rest)
    from recbole_echomamba.comparison.compare import compare, parse_variant
    from recbole_echomamba.comparison.report import metrics_table, not_finished, write_report

    out, variants = known.out or f"results/{known.dataset}", dict(map(parse_variant, known.variant))
    if not all(seed.isdigit() for seed in names_from(known.seeds)):
        raise UserError(f"--seeds are whole numbers separated by commas, not {known.seeds!r}")
    seeds = [int(seed) for seed in names_from(known.seeds)]
    files = names_from(known.config_files)
    with _goes_on("interrupted; give the same command again to go on: finished runs are not repeated"):
        comparison = compare(
            names_from(known.models), known.dataset, seeds, variants, files, settings, out, known.only_finished
        )
    page = write_report(comparison, out, known.latex)
    print("", metrics_table(comparison).markdown(), *not_finished(comparison), page, sep="\n")


def tune_parser() -> argparse.ArgumentParser:
    """RecBole's flags of ``run_hyper.py``, and ours."""
    parser = _parser("run_hyper.py", "Search settings of one model by validation; the best is tested once.")
    parser.add_argument("--model", "-m", help="unless a config file names it")
    parser.add_argument("--dataset", "-d", help="unless a config file names it")
    parser.add_argument("--config_files", help="YAML files, separated by spaces or commas; later ones win")
    parser.add_argument("--params_file", help="what to search; properties/hyper/MODEL.hyper by default")
    parser.add_argument("--output_file", help="the trials as Markdown; OUT/trials.md by default")
    parser.add_argument("--display_file", help="the plot of the trials; OUT/trials.png by default")
    parser.add_argument("--tool", default="Hyperopt", choices=("Hyperopt", "Ray"))
    parser.add_argument("--algo", default="exhaustive", choices=("exhaustive", "random", "bayes"), help="of Hyperopt")
    parser.add_argument("--max_evals", type=int, default=10, help="trials; exhaustive: every combination")
    parser.add_argument(
        "--early_stop", type=int, default=10, help="Hyperopt stops after as many trials without a better one"
    )
    parser.add_argument("--out", help="folder of the search; tuning/MODEL-DATASET by default")
    parser.add_argument("--resume", action="store_true", help="go on with the search in that folder")
    parser.add_argument("--ray-address", help="of a Ray cluster that is running; one is started here by default")
    parser.add_argument("--cpus-per-trial", type=float, default=1)
    parser.add_argument("--gpus-per-trial", type=float, default=0)
    return parser


def tune_door(arguments: list[str]) -> None:
    """Search, test the best once, and say where it is."""
    known, rest = tune_parser().parse_known_args(arguments)
    settings = settings_from(rest)
    from recbole_echomamba.tuning.tune import tune

    with _goes_on("interrupted; give the same command with --resume to go on: finished trials are not repeated"):
        result = tune(
            *(known.model, known.dataset, names_from(known.config_files), settings),
            params_file=known.params_file,
            out=known.out,
            **{key: getattr(known, key) for key in ("tool", "algo", "max_evals", "early_stop", "resume")},
            **{key: getattr(known, key) for key in ("output_file", "display_file", "ray_address")},
            **{key: getattr(known, key) for key in ("cpus_per_trial", "gpus_per_trial")},
        )
    print(f"{table(result)}\nthe best settings: python run_recbole.py --config_files={result['best_file']}")


def recommend_parser() -> argparse.ArgumentParser:
    """Whom to recommend what, and where to."""
    parser = _parser("recommend.py", "Top-k items for users, from a run directory, over their full histories.")
    parser.add_argument("--run", required=True, help="a run directory")
    parser.add_argument("--out", required=True, help="a file that ends in .csv, .jsonl or .parquet")
    parser.add_argument("--topk", type=int, default=10)
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--users", help="a file with a user id on each line")
    whom.add_argument("--all", action="store_true", help="every user of the data set")
    whom.add_argument("--history", help="item ids, separated by spaces, oldest first, of a person the model never saw")
    parser.add_argument("--items", help="a file with an item id on each line: recommend only these")
    parser.add_argument("--exclude-seen", action="store_true", help="leave out the items of the history")
    parser.add_argument("--skip-unknown", action="store_true", help="list unknown ids and go on without them")
    parser.add_argument("--titles", action="store_true", help="add titles from the .item file")
    return parser


def recommend_door(arguments: list[str]) -> None:
    """Write recommendations to a file."""
    known, rest = recommend_parser().parse_known_args(arguments)
    settings = settings_from(rest)
    from recbole_echomamba.recommendation import check_format, read_ids, recommend, write_recommendations

    check_format(known.out)
    table = recommend(
        known.run,
        users=read_ids(known.users) if known.users is not None else None,
        topk=known.topk,
        history=known.history.split() if known.history is not None else None,
        items=read_ids(known.items) if known.items is not None else None,
        exclude_seen=known.exclude_seen,
        skip_unknown=known.skip_unknown,
        titles=known.titles,
        config_dict=settings,
    )
    write_recommendations(table, known.out)
    print(f"{len(table)} recommendations to {table['user_id'].nunique()} users are in {known.out}")


def inspect_parser() -> argparse.ArgumentParser:
    """Which run, and where the page goes."""
    parser = _parser("echomamba inspect", "A page on the filters, memory and parts of a trained run.")
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--out", help="RUN/inspection.html by default")
    return parser


def inspect_door(arguments: list[str]) -> None:
    """Write the page and say where it is."""
    known, rest = inspect_parser().parse_known_args(arguments)
    settings = settings_from(rest)
    from recbole_echomamba.inspection import inspect

    print(inspect(known.run, known.out, settings))


DOORS = {"compare": compare_door, "tune": tune_door, "recommend": recommend_door, "inspect": inspect_door}


@contextlib.contextmanager
def _goes_on(how: str) -> Iterator[None]:
    """Ctrl-C inside the block says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(how) from None


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=description, epilog=SETTINGS, allow_abbrev=False)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser
