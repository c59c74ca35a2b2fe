"""What is promised to those who import, install or extend the package."""

import configparser
import importlib.metadata
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import recbole_echomamba
from recbole_echomamba.cli import format_error
from recbole_echomamba.environment import INSTALL_RECBOLE, MissingRecBole

ROOT = Path(__file__).parent.parent


def test_the_public_names_are_these():
    names = [
        "Config",
        "EchoMamba4Rec",
        "Mamba4Rec",
        "Recommender",
        "Trainer",
        "create_dataset",
        "data_preparation",
        "get_model",
    ]
    assert recbole_echomamba.__all__ == [*names, "load_run", "recommend", "run"]
    assert all(hasattr(recbole_echomamba, name) for name in recbole_echomamba.__all__)


def test_public_names_are_imported_on_first_use():
    code = (
        "import sys, recbole_echomamba as package; "
        "assert 'torch' not in sys.modules; "
        "assert set(package.__all__) <= set(dir(package)); "
        "from recbole_echomamba import Config; "
        "from recbole_echomamba.config.config import Config as defined; "
        "assert Config is defined is package.Config"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'recbole_echomamba' has no attribute 'Trainr'"):
        _ = recbole_echomamba.Trainr


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
    assert "recbole_echomamba/py.typed" in names
    for file in [*(ROOT / "properties").rglob("*.yaml"), *(ROOT / "properties").rglob("*.hyper")]:
        assert f"recbole_echomamba/{file.relative_to(ROOT)}" in names
    # the properties are found from inside an unpacked wheel as well
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "from recbole_echomamba.config.settings_files import properties_directory as p; print(p())"
    out = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path / "site", text=True)
    assert Path(out.strip()) == tmp_path / "site" / "recbole_echomamba" / "properties"


def test_every_property_says_where_its_value_is_from_or_what_it_does():
    for file in (ROOT / "properties" / "model").glob("*.yaml"):
        text = file.read_text()
        assert "config.yaml" in text.splitlines()[0]
        assert yaml.safe_load(text)


def read_entries(text, python):
    """Return the requirements in a text, one a line, that hold for a version of Python."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    environment = {"python_version": python}
    requirements = [Requirement(line) for line in lines]
    return [each for each in requirements if each.marker is None or each.marker.evaluate(environment)]


@pytest.mark.parametrize(
    ("constraints", "python"),
    [
        ("constraints.txt", "3.10"),
        ("constraints.txt", "3.11"),
        ("constraints.txt", "3.12"),
        ("constraints.txt", "3.13"),
        ("constraints.txt", "3.14"),
        ("constraints-oldest.txt", "3.11"),
    ],
)
def test_every_requirement_has_exactly_one_pin_that_satisfies_it(constraints, python):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    # `cuda` is not pinned: it is compiled against the installed torch
    wanted = [setup["options"]["install_requires"], extras["triton"], extras["tune"], extras["test"]]
    pins = {}
    for pin in read_entries((ROOT / constraints).read_text(), python):
        assert pins.setdefault(pin.name, pin) is pin
    for requirement in read_entries("\n".join(wanted), python):
        (pinned,) = pins[requirement.name].specifier
        assert pinned.operator == "==", pinned
        assert requirement.specifier.contains(pinned.version), requirement


def test_recbole_is_installed_in_the_version_that_the_message_names():
    requirement = Requirement(INSTALL_RECBOLE.rpartition(" ")[2])
    assert requirement.specifier.contains(importlib.metadata.version("recbole"))
    for file in ("Makefile", "README.md"):
        assert f"--no-deps {requirement}" in (ROOT / file).read_text()


def test_only_recboles_own_requirements_are_not_met():
    # RecBole asks for exact versions that are too old, and for packages that it does not import
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this environment has no pip")
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    complaints = [line for line in done.stdout.splitlines() if not line.startswith("No broken requirements")]
    assert [line for line in complaints if not line.startswith("recbole ")] == []


def test_a_missing_recbole_is_named_with_the_command_that_installs_it():
    code = "import recbole_echomamba, recbole"
    # -S: without the installed packages
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    message = f"RecBole is not installed; install it with: {INSTALL_RECBOLE}"
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {message}"
    with pytest.raises(ModuleNotFoundError) as missing:
        MissingRecBole.find_spec("recbole")
    assert format_error(missing.value) == f"error: {message}"


def test_the_hash_of_the_default_settings_is_stable():
    # Results are compared and reused by this hash. A new default may change it; the changelog must then say so.
    assert recbole_echomamba.Config("EchoMamba4Rec", "ml-100k").hash == "a1e30beff1"
