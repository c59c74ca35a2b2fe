"""What is promised to those who import, install or extend the package."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import recbole_echomamba

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


def test_the_pins_satisfy_what_setup_asks_for():
    def entries(text):
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    # `cuda` is not pinned: it is compiled against the installed torch
    wanted = [setup["options"]["install_requires"], extras["triton"], extras["tune"], extras["test"]]
    pins = dict(line.split("==") for line in entries((ROOT / "constraints.txt").read_text()))
    # RecBole requires these too, without the upper bound that its code needs
    assert {"numpy", "pandas"} <= set(pins)
    for requirement in map(Requirement, entries("\n".join(wanted))):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": "3.11"}):
            assert requirement.specifier.contains(pins[requirement.name]), requirement


def test_the_hash_of_the_default_settings_is_stable():
    # Results are compared and reused by this hash. A new default may change it; the changelog must then say so.
    assert recbole_echomamba.Config("EchoMamba4Rec", "ml-100k").hash == "a1e30beff1"
