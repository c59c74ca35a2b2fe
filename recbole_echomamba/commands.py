"""The commands of the command line: their arguments, and what each of them executes.

The functions named ``execute_*`` import what they need when they are called, so that ``--help`` does not load torch.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable
from recbole_echomamba.system.signals import sigterm_interrupts


def split_list(text: str | None) -> list[str]:
    """Return the words of a list that is separated by commas or spaces."""
    return (text or "").replace(",", " ").split()


def split_history(text: str) -> list[str]:
    """Return the ids of ``--history``: the words of the text, or the entries of a JSON list."""
    try:
        ids = json.loads(text)
    except ValueError:
        ids = None
    return [str(each) for each in ids] if isinstance(ids, list) else text.split()


def format_result(result: dict) -> str:
    """Return the warnings and the metrics of a run, with its cost and its directory.

    Args:
        result: what :func:`recbole_echomamba.experiment.run` returns.
    """
    title = f"{result['model']} on {result['dataset']}, seed {result['seed']}, settings {result['config_hash']}"
    cost = f"{result['seconds_per_epoch']:.1f} s per epoch"
    directory = f"saved in {result['run_directory']}"
    lines = [format_warnings(result.get("warnings", []))]
    if result["test_result"]:
        best = f"best after {result['best_epoch'] + 1} of {result['epochs']} epochs"
        speed = f"{result['users_per_second']:.0f} users/s tested"
        lines += [f"{title}: {best}, {cost}, {speed}", _draw_metrics(result)]
    else:
        lines += [f"{title}: {result['epochs']} epochs, {cost}; there is no test part"]
    return "\n".join([*lines, directory])


def format_warnings(warnings: list[str]) -> str:
    """Return warnings, one in a line, under a heading; nothing if there are none."""
    if not warnings:
        return ""
    return "\n".join(
        [f"\n{len(warnings)} warning{'s' if len(warnings) > 1 else ''}:", *(f"- {text}" for text in warnings), ""]
    )


def format_next_commands(result: dict, model: str) -> str:
    """Return what to do with a trained run: the commands to recommend, to inspect, and to compare.

    Args:
        result: what :func:`recbole_echomamba.experiment.run` returns.
        model: how the model is named, which is ``module:Class`` for a custom one.
    """
    python = f"{_find_python()} -m recbole_echomamba"
    directory, dataset = result["run_directory"], result["dataset"]
    other = "SASRec" if result["model"] != "SASRec" else "EchoMamba4Rec"
    return "\n".join(
        [
            "next:",
            f"  {python} recommend --run={directory} --all --topk=10 --out=top.csv",
            f"  {python} inspect {directory}",
            f"  {python} compare --models={model},{other} --dataset={dataset}",
        ]
    )


def _draw_metrics(result: dict) -> str:
    from texttable import Texttable

    table = Texttable()
    table.set_deco(Texttable.HEADER)
    table.set_cols_dtype(["t", "t", "t"])
    table.set_cols_align(["l", "r", "r"])
    table.add_row(["metric", "best valid", "test"])
    for name, value in result["test_result"].items():
        table.add_row([name, str(result["best_valid_result"].get(name, "")), str(value)])
    return table.draw()


def _find_python() -> str:
    """Return how to call this interpreter: by its name if the shell finds it, else by its path."""
    if shutil.which("python") == sys.executable:
        return "python"
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``run``: RecBole's, and ``--result_file`` and ``--resume``."""
    group = parser.add_argument_group("model and data")
    group.add_argument(
        "-m",
        "--model",
        metavar="NAME",
        help="EchoMamba4Rec, Mamba4Rec, any sequential model of RecBole, or a custom one as module:Class or file.py:Class",
    )
    group.add_argument("-d", "--dataset", metavar="NAME", help="a folder in data_path (default: dataset/), or ml-100k")
    _add_config_files(group)
    group = parser.add_argument_group("run")
    group.add_argument("--result_file", metavar="FILE", help="also write the result to this file, as JSON")
    group.add_argument(
        "--resume", metavar="RUN", help="resume an interrupted run directory, or train it for more --epochs"
    )
    group.add_argument(
        "--continue",
        dest="continue_from",
        metavar="RUN",
        help="train a run on in a new one, with its settings and weights, when the data have grown",
    )
    group = parser.add_argument_group("several processes")
    group.add_argument(
        "--nproc", type=int, default=1, metavar="N", help="processes on this machine (default: %(default)s)"
    )
    group.add_argument(
        "--world_size", type=int, default=-1, metavar="N", help="processes on all machines (default: --nproc)"
    )
    group.add_argument(
        "--ip", default="localhost", metavar="HOST", help="address of the first machine (default: %(default)s)"
    )
    group.add_argument("--port", default="5678", help="port on the first machine (default: %(default)s)")
    group.add_argument(
        "--group_offset",
        type=int,
        default=0,
        metavar="RANK",
        help="rank of this machine's first process (default: %(default)s)",
    )


def execute_run(options: argparse.Namespace, settings: dict[str, str]) -> None:
    """Train and test one model, then print its metrics."""
    from recbole_echomamba.config.early_checks import check_arguments, check_run_directory

    if options.result_file:
        check_writable(options.result_file, "--result_file")
    if options.continue_from is not None:
        check_run_directory(options.continue_from)
    elif options.resume is None:
        check_arguments([options.model], options.dataset, split_list(options.config_files), settings)
    else:
        check_run_directory(options.resume)
    from recbole_echomamba.experiment import run
    from recbole_echomamba.training.run_directory import read_settings

    result = run(
        options.model,
        options.dataset,
        config_file_list=split_list(options.config_files),
        config_dict=settings,
        nproc=options.nproc,
        world_size=options.world_size,
        ip=options.ip,
        port=options.port,
        group_offset=options.group_offset,
        result_file=options.result_file,
        resume=options.resume,
        continue_from=options.continue_from,
    )
    # Of several processes only the first keeps a run and shows its result.
    if result and result["run_directory"]:
        model = read_settings(result["run_directory"])["model"]
        print(format_result(result), format_next_commands(result, model), sep="\n")


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``compare``."""
    group = parser.add_argument_group("models and data")
    group.add_argument(
        "--models", required=True, metavar="NAMES", help="models separated by commas; the first is under test"
    )
    group.add_argument("-d", "--dataset", required=True, metavar="NAME", help="dataset of all runs")
    group.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME:KEY=VALUE,...",
        help="also run the first model with these settings; may be given several times",
    )
    group.add_argument("--seeds", default="2020", help="seeds separated by commas (default: %(default)s)")
    _add_config_files(group)
    group = parser.add_argument_group("report")
    group.add_argument("--out", metavar="DIR", help="folder for runs and report (default: comparisons/DATASET)")
    group.add_argument("--latex", action="store_true", help="also write report.tex")
    group.add_argument("--only-finished", action="store_true", help="train nothing, report on the finished runs")


def execute_compare(options: argparse.Namespace, settings: dict[str, str]) -> None:
    """Run every model that has no result yet, write the report and print the table of test metrics."""
    from recbole_echomamba.config.early_checks import check_arguments

    seeds = split_list(options.seeds)
    if not all(re.fullmatch("[0-9]{1,18}", seed) for seed in seeds):
        raise UserError(f"--seeds must be whole numbers separated by commas, not {options.seeds!r}")
    models = split_list(options.models)
    check_arguments(models, options.dataset, split_list(options.config_files), settings)
    from recbole_echomamba.comparison.compare import compare
    from recbole_echomamba.comparison.contenders import parse_variants
    from recbole_echomamba.comparison.report import write_report
    from recbole_echomamba.comparison.tables import tabulate_metrics
    from recbole_echomamba.comparison.verdict import describe_missing

    out = options.out or f"comparisons/{options.dataset}"
    with _explain_interruption("interrupted; give the same command again to resume, finished runs are not repeated"):
        comparison = compare(
            models,
            options.dataset,
            seeds=[int(seed) for seed in seeds],
            variants=parse_variants(options.variant),
            config_file_list=split_list(options.config_files),
            config_dict=settings,
            out=out,
            only_finished=options.only_finished,
        )
    page = write_report(comparison, out, options.latex)
    results = [result for of_row in comparison.results.values() for result in of_row]
    warnings = dict.fromkeys(text for result in results for text in result.get("warnings", []))
    print(
        format_warnings([*warnings]),
        tabulate_metrics(comparison).to_markdown(),
        *describe_missing(comparison),
        page,
        sep="\n",
    )


def add_tune_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``tune``: those of RecBole's ``run_hyper.py``, and ours."""
    group = parser.add_argument_group("model and data")
    group.add_argument("-m", "--model", metavar="NAME", help="model to tune, unless a config file names it")
    group.add_argument("-d", "--dataset", metavar="NAME", help="dataset, unless a config file names it")
    _add_config_files(group)
    group = parser.add_argument_group("search")
    group.add_argument("--params_file", metavar="FILE", help="the search space (default: properties/hyper/MODEL.hyper)")
    group.add_argument(
        "--tool",
        default="Hyperopt",
        choices=["Hyperopt", "Optuna", "Ray"],
        help="library that searches (default: %(default)s)",
    )
    group.add_argument(
        "--algo",
        default="exhaustive",
        choices=["exhaustive", "random", "bayes"],
        help="how Hyperopt and Optuna search (default: %(default)s)",
    )
    group.add_argument(
        "--max_evals",
        type=int,
        default=10,
        metavar="N",
        help="number of trials (default: %(default)s); an exhaustive search tries every combination",
    )
    group.add_argument(
        "--early_stop",
        type=int,
        default=10,
        metavar="N",
        help="Hyperopt and Optuna: stop after N trials without improvement (default: %(default)s)",
    )
    group.add_argument("--resume", action="store_true", help="resume the search in the folder --out")
    group = parser.add_argument_group("Ray")
    group.add_argument(
        "--ray-address", metavar="ADDRESS", help="a running Ray cluster (default: start one on this machine)"
    )
    group.add_argument(
        "--cpus-per-trial", type=float, default=1, metavar="N", help="CPU cores of a trial (default: %(default)s)"
    )
    group.add_argument(
        "--gpus-per-trial", type=float, default=0, metavar="N", help="GPUs of a trial (default: %(default)s)"
    )
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="DIR", help="folder of the search (default: tuning/MODEL-DATASET)")
    group.add_argument("--output_file", metavar="FILE", help="table of the trials (default: OUT/trials.md)")
    group.add_argument("--display_file", metavar="FILE", help="plot of the trials (default: OUT/trials.png)")


def execute_tune(options: argparse.Namespace, settings: dict[str, str]) -> None:
    """Search, test the best settings once and print where they are."""
    from recbole_echomamba.config.early_checks import check_arguments

    for option, file in [("--output_file", options.output_file), ("--display_file", options.display_file)]:
        if file:
            check_writable(file, option)
    check_arguments([options.model], options.dataset, split_list(options.config_files), settings)
    if options.params_file:
        from recbole_echomamba.tuning.search_space import read_space

        read_space(options.params_file)
    from recbole_echomamba.tuning.tune import tune

    hint = "interrupted; give the same command with --resume to resume, finished trials are not repeated"
    with _explain_interruption(hint):
        result = tune(
            options.model,
            options.dataset,
            split_list(options.config_files),
            settings,
            params_file=options.params_file,
            out=options.out,
            tool=options.tool,
            algo=options.algo,
            max_evals=options.max_evals,
            early_stop=options.early_stop,
            resume=options.resume,
            output_file=options.output_file,
            display_file=options.display_file,
            ray_address=options.ray_address,
            cpus_per_trial=options.cpus_per_trial,
            gpus_per_trial=options.gpus_per_trial,
        )
    print(format_result(result))
    print(f"to train with the best settings: python run_recbole.py --config_files={result['best_file']}")


def add_recommend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``recommend``."""
    group = parser.add_argument_group("input and output")
    group.add_argument("--run", required=True, help="run directory of the trained model")
    _add_custom_model(group)
    group.add_argument("--out", required=True, metavar="FILE", help="file to write, ending in .csv, .jsonl or .parquet")
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
    """Write recommendations to a file."""
    from recbole_echomamba.config.early_checks import check_run_directory

    check_run_directory(options.run)
    check_writable(options.out, "--out")
    from recbole_echomamba.recommendation import recommend
    from recbole_echomamba.recommendation.files import check_format, read_histories, read_ids, write_recommendations

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
    write_recommendations(table, options.out)
    print(f"wrote {len(table)} recommendations for {table['user_id'].nunique()} users to {options.out}")


def add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``inspect``."""
    group = parser.add_argument_group("input and output")
    group.add_argument("run", metavar="RUN", help="run directory of the trained model")
    group.add_argument(
        "other", metavar="OTHER", nargs="?", help="directory of a second run, to be shown beside the first"
    )
    _add_custom_model(group)
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
    _add_custom_model(group)
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


def _add_custom_model(group) -> None:
    help_text = "module:Class of a custom model that has moved since it was trained"
    group.add_argument("-m", "--model", metavar="NAME", help=help_text)


def _add_config_files(group) -> None:
    help_text = (
        "YAML files with settings, or names in properties/variant, separated by commas or spaces; later ones win"
    )
    group.add_argument("--config_files", metavar="FILES", help=help_text)


@contextlib.contextmanager
def _explain_interruption(hint: str) -> Iterator[None]:
    """Within the block, let SIGTERM interrupt too, and replace the message of the interruption by a hint on how to resume."""
    try:
        with sigterm_interrupts():
            yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(hint) from None


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        summary: one sentence, shown in the list of commands and above the command's own help.
        usage: the arguments that are needed, for the usage line.
        examples: arguments of example calls.
        add_arguments: adds the command's arguments to its parser.
        execute: executes the command, from the parsed arguments and the ``--key=value`` settings.
    """

    summary: str
    usage: str
    examples: list[str]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    execute: Callable[[argparse.Namespace, dict[str, str]], None]


COMMANDS = {
    "run": Command(
        summary="Train and test one model.",
        usage="--model=NAME --dataset=NAME",
        examples=[
            "--model=EchoMamba4Rec --dataset=ml-100k --epochs=10",
            "--model=SASRec --dataset=ml-1m --learning_rate=0.002 --seed=7",
            "--resume=saved/RUN --epochs=400",
        ],
        add_arguments=add_run_arguments,
        execute=execute_run,
    ),
    "compare": Command(
        summary="Compare models on the same data, split, loss and budget.",
        usage="--models=NAME,NAME,... --dataset=NAME",
        examples=[
            "--models=EchoMamba4Rec,SASRec,BERT4Rec --dataset=ml-100k --seeds=2020,2021,2022",
            "--models=EchoMamba4Rec --dataset=ml-100k --variant=two:num_layers=2",
        ],
        add_arguments=add_compare_arguments,
        execute=execute_compare,
    ),
    "tune": Command(
        summary="Search settings by validation, then test the best once.",
        usage="--model=NAME --dataset=NAME",
        examples=[
            "--model=EchoMamba4Rec --dataset=ml-100k --algo=bayes --max_evals=30",
            "--model=EchoMamba4Rec --dataset=ml-100k --tool=Ray --gpus-per-trial=1",
        ],
        add_arguments=add_tune_arguments,
        execute=execute_tune,
    ),
    "recommend": Command(
        summary="Write the top-k items for users, from a run directory.",
        usage="--run=RUN (--all | --users=FILE | --history='ITEM ...') --out=FILE",
        examples=[
            "--run=saved/RUN --all --topk=10 --out=top.csv",
            "--run=saved/RUN --users=ids.txt --exclude-seen --out=top.parquet",
            "--run=saved/RUN --history='1193 661 914' --titles --out=top.csv",
        ],
        add_arguments=add_recommend_arguments,
        execute=execute_recommend,
    ),
    "inspect": Command(
        summary="Write a page on the filters, memory and parts of a model.",
        usage="RUN [OTHER]",
        examples=["saved/RUN", "saved/RUN saved/OTHER --out=page.html", "saved/RUN --user=42"],
        add_arguments=add_inspect_arguments,
        execute=execute_inspect,
    ),
    "export": Command(
        summary="Write a trained model as ONNX or a torch program.",
        usage="RUN [--to=onnx|torch]",
        examples=["saved/RUN", "saved/RUN --topk=10 --out=shop.onnx", "saved/RUN --to=torch"],
        add_arguments=add_export_arguments,
        execute=execute_export,
    ),
    "card": Command(
        summary="Write a model card from the facts of a run.",
        usage="RUN",
        examples=["saved/RUN", "saved/RUN --out=card.md"],
        add_arguments=add_card_arguments,
        execute=execute_card,
    ),
}
