"""What is promised to those who import, install or extend the package."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import recbole_echomamba

ROOT = Path(__file__).parent.parent
FLOORS = ["ops", "layers", "models", "host", "experiment"]
DAILY = {
    "comparison": ["comparison", "comparison_plots", "comparison_report", "comparison_statistics"],
    "tuning": ["search_space", "tuning", "tuning_hyperopt", "tuning_ray", "tuning_report"],
    "recommendation": ["recommendation"],
    "inspection": ["inspection"],
}
TENSORS_ONLY = ("ops", "layers")


def test_the_public_names_are_these():
    names = ["Config", "EchoMamba4Rec", "Mamba4Rec", "Trainer", "create_dataset", "data_preparation", "get_model"]
    assert recbole_echomamba.__all__ == [*names, "load_run", "recommend", "run"]
    assert all(hasattr(recbole_echomamba, name) for name in recbole_echomamba.__all__)


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def floor_files():
    package = ROOT / "recbole_echomamba"
    return [
        (floor, file) for floor in FLOORS for file in [*package.glob(f"{floor}/*.py"), *package.glob(f"{floor}.py")]
    ]


@pytest.mark.parametrize(("floor", "file"), floor_files(), ids=lambda value: getattr(value, "name", value))
def test_each_floor_imports_only_what_is_below(floor, file):
    daily = [name for names in DAILY.values() for name in names]
    above = [*FLOORS[FLOORS.index(floor) + 1 :], *daily, "report", "doors"]
    for module in imports(file):
        parts = module.split(".")
        assert not (parts[0] == "recbole_echomamba" and len(parts) > 1 and parts[1] in above), module
        assert not (floor in TENSORS_ONLY and parts[0] == "recbole"), module


@pytest.mark.parametrize("work", DAILY)
def test_daily_work_stands_side_by_side_and_needs_no_door(work):
    others = {name for other, names in DAILY.items() if other != work for name in names} | {"doors", "__main__"}
    for name in DAILY[work]:
        for module in imports(ROOT / "recbole_echomamba" / f"{name}.py"):
            parts = module.split(".")
            assert not (parts[0] == "recbole_echomamba" and len(parts) > 1 and parts[1] in others), module


def test_data_preparation_needs_neither_torch_nor_recbole():
    code = "import sys, dataset_prep.__main__; print([m for m in ('torch', 'recbole') if m in sys.modules])"
    out = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert out.strip() == "[]"


def test_a_wheel_holds_every_module_and_every_property(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run([*command, "--no-build-isolation"], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("recbole_echomamba", "dataset_prep"):
        for file in (ROOT / folder).rglob("*.py"):
            assert str(file.relative_to(ROOT)) in names
    for file in [*(ROOT / "properties").rglob("*.yaml"), *(ROOT / "properties").rglob("*.hyper")]:
        assert f"recbole_echomamba/{file.relative_to(ROOT)}" in names
    # the properties are found from inside an unpacked wheel as well
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "from recbole_echomamba.host.config import properties_directory as p; print(p())"
    out = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path / "site", text=True)
    assert Path(out.strip()) == tmp_path / "site" / "recbole_echomamba" / "properties"


def test_every_property_says_where_its_value_is_from_or_what_it_does():
    for file in (ROOT / "properties" / "model").glob("*.yaml"):
        text = file.read_text()
        assert "config.yaml" in text.splitlines()[0]
        assert yaml.safe_load(text)


def test_the_pins_cover_what_setup_asks_for():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for package in (
        "torch",
        "recbole",
        "numpy",
        "pandas",
        "numba",
        "triton",
        "hyperopt",
        "ray",
        "scipy",
        "matplotlib",
        "duckdb",
        "tqdm",
        "pytest",
        "ruff",
    ):
        assert package in pins
