"""Kill a command with ``kill -9`` at a random moment, give it again, and compare with one that was never interrupted."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attack import processes
from benchmarks.attack.scene import Scene
from benchmarks.attack.tally import Budget, Tally
from tests.dataset_prep import layouts

HYPER = "learning_rate choice [0.001,0.002]\ndropout_prob choice [0.1,0.2]\n"


@dataclass(frozen=True)
class Command:
    """A command to kill.

    Attributes:
        promise: what must hold.
        first: the arguments.
        again: the arguments after an interruption, where ``{run}`` is the interrupted run directory.
    """

    promise: str
    first: list[str]
    again: list[str]


def make_commands(scene: Scene, scratch: Path) -> list[Command]:
    """Return the commands to kill: train, search, compare and prepare."""
    settings = [f"--{key}={value}" for key, value in scene.settings.items() if key != "epochs"]
    space = scratch / "small.hyper"
    space.write_text(HYPER)
    raw = layouts.write_lfm(scratch / "raw-lfm", layouts.walks(60, 40))
    train = ["run", "--model=EchoMamba4Rec", "--dataset=small", "--epochs=4", *settings]
    tune = [
        "tune",
        "--model=Mamba4Rec",
        "--dataset=small",
        "--epochs=1",
        # its proposals follow from the seed and the scores alone
        "--tool=Hyperopt",
        f"--params_file={space}",
        "--out=search",
        *settings,
    ]
    compare = [
        "compare",
        "--models=Mamba4Rec,GRU4Rec",
        "--dataset=small",
        "--seeds=1,2",
        "--epochs=2",
        "--out=c",
        *settings,
    ]
    prepare = ["dataset_prep", "lfm-1b", "--raw", str(raw), "--out", "prepared", "--min-user", "2"]
    return [
        Command("training killed with -9 and resumed is the same training", train, ["run", "--resume={run}"]),
        Command("a search killed with -9 and resumed is the same search", tune, [*tune, "--resume"]),
        Command("a comparison killed with -9 and repeated is the same comparison", compare, compare),
        Command("a preparation killed with -9 and repeated is the same preparation", prepare, prepare),
    ]


def attack(scene: Scene, scratch: Path, seed: int, budget: Budget) -> list[Tally]:
    """Kill each command at random moments of its time."""
    draw = random.Random(seed)
    context = processes.make_context()
    commands = make_commands(scene, scratch)
    tallies = []
    for index, command in enumerate(commands):
        tally = Tally(command.promise)
        tallies.append(tally)
        _attack_command(tally, command, context, scratch, draw, budget.part(index, len(commands)))
    return tallies


def _attack_command(
    tally: Tally, command: Command, context, scratch: Path, draw: random.Random, budget: Budget
) -> None:
    expected, seconds = {}, 0.0
    # The first call imports what is imported late, the second one is measured.
    for _ in range(2):
        folder = _fresh(scratch / "uninterrupted")
        began = time.monotonic()
        _finish(processes.call(context, command.first, folder, scratch / "output.txt"), scratch / "output.txt")
        expected, seconds = processes.describe_outcome(folder), time.monotonic() - began
    for _ in range(budget.most):
        if budget.over:
            return
        folder = _fresh(scratch / "killed")
        moment = draw.uniform(0, seconds)
        process = processes.call(context, command.first, folder, scratch / "output.txt")
        process.join(moment)
        process.kill()
        process.join()
        _give_again(tally, command, context, folder, scratch / "output.txt", expected, f"{moment:.2f} s")


def _give_again(
    tally: Tally, command: Command, context, folder: Path, output: Path, expected: dict, example: str
) -> None:
    arguments = _arguments_to_go_on(command, folder)
    process = processes.call(context, arguments, folder, output)
    process.join(processes.SECONDS_TO_HANG)
    if process.is_alive():
        process.kill()
        tally.add("hung", example)
        return
    if process.exitcode != 0:
        tally.add("crashed", example, f"{arguments[:2]}: {_last_line(output)}")
        return
    found = processes.describe_outcome(folder)
    if found != expected:
        different = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        tally.add("silent", example, f"other {', '.join(different)} than without interruption")
    elif left := processes.find_leftovers(folder):
        tally.add("crashed", example, f"left behind {left[0]}")
    else:
        tally.add("survived", example)


def _arguments_to_go_on(command: Command, folder: Path) -> list[str]:
    """Return the command that goes on: it starts again where it was killed before there was anything to resume."""
    runs = sorted(file.parent for file in folder.glob("saved/*/config.yaml"))
    if "--resume={run}" in command.again:
        return [word.format(run=runs[-1]) for word in command.again] if runs else command.first
    if "--resume" in command.again and not (folder / "search" / "search.json").is_file():
        return command.first
    return command.again


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _finish(process, output: Path) -> None:
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the command to attack fails by itself: {_last_line(output)}")


def _last_line(output: Path) -> str:
    lines = output.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
