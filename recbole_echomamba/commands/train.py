"""The commands that train: run, compare and tune."""

from __future__ import annotations

import argparse
import re

from recbole_echomamba.commands.results import format_next_commands, format_result, format_warnings
from recbole_echomamba.commands.shared import add_config_files, explain_interruption, split_list
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable


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
    add_config_files(group)
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
    add_config_files(group)
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
    with explain_interruption("interrupted; give the same command again to resume, finished runs are not repeated"):
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
    add_config_files(group)
    group = parser.add_argument_group("search")
    group.add_argument("--params_file", metavar="FILE", help="the search space (default: properties/hyper/MODEL.hyper)")
    group.add_argument(
        "--tool",
        default="Optuna",
        choices=["Optuna", "Hyperopt", "Ray"],
        help="library that searches (default: %(default)s)",
    )
    group.add_argument(
        "--algo",
        choices=["exhaustive", "random", "bayes"],
        help="how Optuna and Hyperopt search (default: exhaustive, or bayes where the search space has a range)",
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
        help="Optuna and Hyperopt: stop after N trials without improvement (default: %(default)s)",
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
    with explain_interruption(hint):
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
    print(f"report: {result['report']}")
    print(f"to train with the best settings: python run_recbole.py --config_files={result['best_file']}")
