"""Attack the project for a stated time and print a table of its promises.

``python -m benchmarks.attack --minutes 60 --seed 1`` tries as much as the time allows, up to 2,000 corruptions, 200 kills,
100 full disks and 100,000 inputs; each attack gets an equal share of the time that the ones before it left. The same seed makes
the same attacks. The exit code is 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks.attack import corruption, disks, fuzz, kills, tally
from benchmarks.attack.scene import build_scene
from benchmarks.working_directory import change_to
from recbole_echomamba.system.hardware import describe_machine, list_versions

ATTACKS = {
    "corruption": (corruption.attack, 2_000),
    "kills": (kills.attack, 200),
    "disks": (disks.attack, 100),
    "fuzz": (fuzz.attack, 100_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="seed of all attacks (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="how long to attack (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), default=list(ATTACKS), help="the attacks to make")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the outcomes and examples to this file")
    options = parser.parse_args()
    chosen = list(options.only)
    if "disks" in chosen and not disks.enter_namespace():
        print("disks: left out, this machine does not let a user mount a file system", file=sys.stderr)
        chosen.remove("disks")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
    began = time.monotonic()
    deadline = began + 60 * options.minutes
    tallies = []
    with tempfile.TemporaryDirectory() as folder, change_to(folder):
        scratch = Path(folder)
        scene = build_scene(scratch / "scene")
        logging.getLogger().handlers.clear()
        for index, name in enumerate(chosen):
            attack, most = ATTACKS[name]
            place = scratch / name
            place.mkdir()
            budget = tally.Budget(most, deadline).part(index, len(chosen))
            found = attack(scene, place, options.seed, tally.Budget(most, budget.deadline))
            tallies += found
            print(tally.tabulate(found), *_describe(found), "", sep="\n", flush=True)
    print(tally.tabulate(tallies))
    minutes = (time.monotonic() - began) / 60
    print(f"\nseed {options.seed}, {minutes:.0f} minutes")
    if options.json:
        facts = {"seed": options.seed, "minutes": round(minutes, 1), "machine": describe_machine(torch.device("cpu"))}
        options.json.write_text(tally.as_json(tallies, **facts, versions=list_versions()), encoding="utf-8")
    return int(any(each.counts["survived"] < each.tried for each in tallies))


def _describe(tallies: list[tally.Tally]) -> list[str]:
    """Return the inputs that did not survive, and at how many places of the code inputs were refused."""
    lines = []
    for each in tallies:
        if each.reached:
            lines.append(f"- {each.promise}: refused at {len(each.reached)} places of the code")
        lines += [f"  {example}" for example in each.examples]
    return lines


if __name__ == "__main__":
    sys.exit(main())
