"""Install, train and test on every Python of this machine, and print a table: ``make matrix``.

A Python is found on PATH, in pyenv or by uv. Each gets a fresh environment in ``.venv-matrix``, which is removed again. Where
there is no interpreter of a version, uv resolves the pins for it. Times are of the wall, with CPU seconds in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VERSIONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
QUICK_TESTS = [
    "tests/config",
    "tests/tuning",
    "tests/data/test_compatible_dataset.py",
    "tests/test_package.py",
    "tests/test_recbole_hooks.py",
]
COLUMNS = ["Python", "numpy", "pandas", "install", "pip check", "to the first metric", "NDCG@10", "quick tests"]


def main() -> int:
    """Fill and print the table; return 1 if a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=VERSIONS, choices=VERSIONS, metavar="VERSION")
    parser.add_argument("--constraints", default="constraints.txt", help="the file of pins, constraints.txt by default")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    options = parser.parse_args()
    rows, passed = [], True
    for version in options.python:
        cells, each_passed = check(version, options.constraints, options.keep)
        rows.append([version, *cells, *[""] * (len(COLUMNS) - 1 - len(cells))])
        passed &= each_passed
        for row in [COLUMNS, ["---"] * len(COLUMNS), *rows]:
            print(f"| {' | '.join(row)} |", flush=True)
    return 0 if passed else 1


def check(version: str, constraints: str, keep: bool) -> tuple[list[str], bool]:
    """Return the cells of a version's row, as far as the steps came, and whether every step passed."""
    interpreter = find_interpreter(version)
    if interpreter is None:
        resolved = resolve(version, constraints)
        return ["", "", f"no interpreter; {resolved}"], "**" not in resolved
    venv = Path(".venv-matrix") / version
    shutil.rmtree(venv, ignore_errors=True)
    try:
        return install_and_run(interpreter, venv, constraints)
    finally:
        if not keep:
            shutil.rmtree(venv, ignore_errors=True)


def install_and_run(interpreter: str, venv: Path, constraints: str) -> tuple[list[str], bool]:
    """Install, check, train for one epoch and run the quick tests; stop at the first step that fails."""
    python = str(venv / "bin" / "python")
    started = measure()
    made = call("make", "environment", f"PYTHON={interpreter}", f"VENV={venv}", f"CONSTRAINTS={constraints}")
    installed = format_since(started)
    if not made:
        return ["", "", "**failed**"], False
    conflicts = check_requirements(python)
    cells = [*(find_version(python, name) for name in ("numpy", "pandas")), installed, conflicts]
    if "**" in conflicts:
        return cells, False
    result = venv / "result.json"
    train = ["run_recbole.py", "--model=EchoMamba4Rec", "--dataset=ml-100k", "--epochs=1"]
    trained = call(python, *train, f"--result_file={result}", f"--checkpoint_dir={venv / 'saved'}")
    if not trained:
        return [*cells, "**failed**"], False
    ndcg = json.loads(result.read_text())["test_result"]["ndcg@10"]
    cells += [format_since(started), str(ndcg)]
    tested = call(python, "-m", "pytest", "-q", *QUICK_TESTS)
    return [*cells, "passed" if tested else "**failed**"], tested


def measure() -> tuple[float, float]:
    """Return the seconds of the clock and the CPU seconds of the commands so far."""
    times = os.times()
    return time.monotonic(), times.children_user + times.children_system


def format_since(started: tuple[float, float]) -> str:
    """Return the seconds since ``started``, and the CPU seconds of the commands since then."""
    wall, cpu = (now - then for now, then in zip(measure(), started, strict=True))
    return f"{wall:.0f} s ({cpu:.0f} s)"


def check_requirements(python: str) -> str:
    """Say which packages miss a requirement by ``pip check``; RecBole's own of 2023 are not met on purpose."""
    checked = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True)
    print(checked.stdout, flush=True)
    if checked.returncode == 0:
        return "clean"
    packages = sorted({line.split()[0] for line in checked.stdout.splitlines() if line.strip()})
    return "only recbole" if packages == ["recbole"] else f"**{', '.join(packages)}**"


def find_interpreter(version: str) -> str | None:
    """Return the path of an interpreter: on PATH, the newest of pyenv, or one that uv knows."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}"), *map(str, root.glob(f"versions/{version}.*/bin/python"))]
    if shutil.which("uv"):
        found = subprocess.run(["uv", "python", "find", "--no-project", version], capture_output=True, text=True)
        candidates.append(found.stdout.strip())
    return next((each for each in candidates if each and is_version(each, version)), None)


def is_version(interpreter: str, version: str) -> bool:
    """Check that an interpreter starts and has this version; pyenv's shims of others do not start."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([interpreter, "-c", code], capture_output=True, text=True).stdout.strip() == version


def resolve(version: str, constraints: str) -> str:
    """Say whether uv finds releases that meet the requirements and the pins, with wheels for a version of Python."""
    if not shutil.which("uv"):
        return "no uv to resolve it"
    uv = ["uv", "pip", "compile", "--quiet", "--no-header", f"--python-version={version}"]
    with tempfile.TemporaryDirectory() as folder:
        found, wheels = Path(folder) / "found.txt", Path(folder) / "wheels.txt"
        requirements = ["setup.cfg", "--extra=test", f"--constraint={constraints}"]
        if not call(*uv, "--no-annotate", *requirements, f"--output-file={found}"):
            return "**does not resolve**"
        if not call(*uv, "--only-binary=:all:", str(found), f"--output-file={wheels}"):
            return "**not all are wheels**"
        return f"{len(found.read_text().splitlines())} packages resolve, all as wheels"


def find_version(python: str, package: str) -> str:
    """Return the installed version of a package."""
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def call(*command: str) -> bool:
    """Run a command with its output on the screen, and return whether it succeeded."""
    print("+", *command, flush=True)
    return subprocess.run(command).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
