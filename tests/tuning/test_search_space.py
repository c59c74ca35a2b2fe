from pathlib import Path

import pytest

from recbole_echomamba import Config
from recbole_echomamba.config.settings_files import properties_directory
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.tuning.search_space import Range, convert_to_plain, read_space


def write(tmp_path, text):
    (tmp_path / "x.hyper").write_text(text)
    return tmp_path / "x.hyper"


def test_a_hyper_file_in_the_format_of_recbole_is_read(tmp_path):
    text = """# a comment
learning_rate choice [0.01, 0.001]
loss_type choice ['CE','BPR']   # another

dropout_prob uniform 0.0,0.5
weight_decay loguniform -8, 0
hidden_size quniform 16,64,16
"""
    assert read_space(write(tmp_path, text)) == {
        "learning_rate": Range("choice", [0.01, 0.001]),
        "loss_type": Range("choice", ["CE", "BPR"]),
        "dropout_prob": Range("uniform", [0.0, 0.5]),
        "weight_decay": Range("loguniform", [-8.0, 0.0]),
        "hidden_size": Range("quniform", [16.0, 64.0, 16.0]),
    }


@pytest.mark.parametrize(
    "line",
    [
        "epochs choice __import__('os').getcwd()",
        "epochs choice [open('evaluated','w')]",
        "epochs choice []",
        "epochs choice 3",
        "epochs normal 0,1",
        "epochs uniform 1",
        "epochs uniform 2,1",
        "epochs quniform 1,2,0",
        "epochs quniform 1,2,3",
        "epochs quniform 1,2,1e999",
        "epochs uniform 1,1e999",
        "epochs uniform -1e999,1",
        "epochs uniform 1e999-1e999,1",
        "epochs uniform True,2",
        pytest.param(f"epochs uniform 1,{10**400}", id="an integer that is no float"),
        "epochs loguniform 0,1000",
        "epochs loguniform -1000,0",
        "epochs choice [1e999]",
        "epochs choice [1j]",
        "epochs choice [b'a']",
        "epochs choice [...]",
        "epochs choice [{[]: 1}]",
        pytest.param(f"epochs choice {'[' * 5000}", id="5000 levels open"),
        pytest.param(f"epochs choice [{'-' * 50_000}1]", id="50,000 signs"),
        "epochs",
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_never_evaluated(tmp_path, line):
    with pytest.raises(ValueError, match=r"x\.hyper, line 2: cannot read .epochs"):
        read_space(write(tmp_path, f"d_state choice [4]\n{line}\n"))
    assert not Path("evaluated").exists()


def test_a_setting_named_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"line 2: .*named a second time"):
        read_space(write(tmp_path, "d_state choice [4]\nd_state choice [8]\n"))


def test_a_missing_or_empty_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.hyper.*--params_file"):
        read_space("gone.hyper")
    with pytest.raises(ValueError, match="names no setting"):
        read_space(write(tmp_path, "# nothing\n"))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"d_state choice ['\xe9']"])
def test_a_file_that_is_not_utf8_is_named(tmp_path, content):
    file = tmp_path / "x.hyper"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.hyper cannot be read"):
        read_space(file)


def test_our_models_have_a_search_space_around_their_defaults():
    from recbole_echomamba import Config
    from recbole_echomamba.config.settings_files import properties_directory

    for model in ("EchoMamba4Rec", "Mamba4Rec"):
        for name, each in read_space(properties_directory() / "hyper" / f"{model}.hyper").items():
            assert Config(model, "ml-100k")[name] in each.values  # the published value is among them


def test_whole_numbers_become_integers():
    assert convert_to_plain({"a": 16.0, "b": 0.5, "c": (1, 2), "d": 0.0}) == {"a": 16, "b": 0.5, "c": [1, 2], "d": 0}
    assert isinstance(convert_to_plain({"stopping_step": 0.0})["stopping_step"], int)


@pytest.mark.parametrize("file", sorted(properties_directory().glob("hyper/*.hyper")), ids=lambda file: file.stem)
def test_every_search_space_that_ships_fits_its_model(file):
    space = read_space(file)
    values = {name: each.first_value for name, each in space.items()}
    assert Config(file.stem, "ml-100k", config_dict=values).settings.items() >= values.items()
