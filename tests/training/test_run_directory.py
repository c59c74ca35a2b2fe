import json
import shutil
import threading

import pytest

from recbole_echomamba import Config
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.manifest import write_recorded_text
from recbole_echomamba.training import checkpoint
from recbole_echomamba.training.run_directory import (
    find_finished,
    find_resumable,
    lock_run_directory,
    new_run_directory,
    read_settings,
    reuse_or_resume,
)


@pytest.fixture
def config(tmp_path):
    return Config("Mamba4Rec", "ml-100k", config_dict={"checkpoint_dir": str(tmp_path / "saved"), "seed": 1})


@pytest.fixture
def folder(config, tmp_path):
    """The folder that holds the run directories of ``config``."""
    return tmp_path / "saved"


def interrupted_run(config, data_hash="data"):
    directory = new_run_directory(config)
    checkpoint.save_state(directory / "training_state.pt", {"data_hash": data_hash})
    return directory


def finish(directory, config, seed=1, **more):
    result = {"config_hash": config.hash, "data_hash": "data", "seed": seed, **more}
    write_recorded_text(directory / "result.json", json.dumps(result))


def test_runs_that_start_in_the_same_second_have_directories_of_their_own(config, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda pattern: "20200101-000000")
    first, second = new_run_directory(config), new_run_directory(config)
    assert first.name == f"Mamba4Rec-ml-100k-20200101-000000-s1-{config.hash}"
    assert second.name == f"{first.name}-2"
    assert read_settings(first) == read_settings(second)


@pytest.mark.parametrize(
    "left", [[], [".config.yaml.0123456789abcdef"], [".config.yaml.0123456789abcdef", "manifest.json"]]
)
def test_what_a_run_killed_before_it_had_settings_left_is_removed_by_the_next_run(config, folder, left):
    killed = new_run_directory(config).rename(folder / f"Mamba4Rec-ml-100k-20200101-000000-s1-{config.hash}")
    for file in killed.iterdir():
        file.unlink()
    for name in left:
        (killed / name).touch()
    begun, own = new_run_directory(config), folder / "mine"
    own.mkdir()
    latest = new_run_directory(config)
    assert {each for each in folder.iterdir() if each.is_dir()} == {begun, latest, own}


def test_a_run_directory_whose_settings_cannot_be_written_is_removed(config, folder, monkeypatch):
    def fail(path, text):
        raise UserError("the disk is full")

    monkeypatch.setattr("recbole_echomamba.training.run_directory.write_recorded_text", fail)
    with pytest.raises(UserError, match="full"):
        new_run_directory(config)
    assert not [each for each in folder.iterdir() if each.is_dir()]


def test_the_settings_of_a_run_directory_make_the_same_config_again(config):
    settings = read_settings(new_run_directory(config))
    again = Config(settings.pop("model"), settings.pop("dataset"), config_dict=settings)
    assert again.hash == config.hash
    assert again["seed"] == 1


def test_a_locked_directory_is_refused_until_it_is_released(tmp_path):
    lock = lock_run_directory(tmp_path)
    with pytest.raises(ValueError, match="in use by another process"):
        lock_run_directory(tmp_path)
    lock.release()
    lock_run_directory(tmp_path).release()


def test_of_equal_finished_runs_the_latest_is_found(config, folder):
    first, second = new_run_directory(config), new_run_directory(config)
    finish(first, config, epochs=1)
    finish(second, config, epochs=2)
    finish(new_run_directory(config), config, seed=7)
    found = find_finished(folder)
    assert set(found) == {(config.hash, "data", 1), (config.hash, "data", 7)}
    assert found[config.hash, "data", 1]["epochs"] == 2
    assert found[config.hash, "data", 1]["run_directory"] == str(second)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_result_is_named(config, folder, content):
    directory = new_run_directory(config)
    write_recorded_text(directory / "result.json", content)
    with pytest.raises(ValueError, match=r"result\.json is damaged .*; remove its folder"):
        find_finished(folder)


def test_no_folder_holds_no_runs(config, folder):
    assert find_finished(folder) == {}
    assert find_resumable(folder, config, "data", 1) is None


def test_an_interrupted_run_with_the_same_settings_data_and_seed_is_found(config, folder):
    directory = interrupted_run(config)
    assert find_resumable(folder, config, "data", 1) == directory
    assert find_resumable(folder, config, "other data", 1) is None
    assert find_resumable(folder, config, "data", 2) is None
    longer = Config("Mamba4Rec", "ml-100k", config_dict={"epochs": 7})
    assert find_resumable(folder, longer, "data", 1) is None
    elsewhere = Config("Mamba4Rec", "ml-100k", config_dict={"checkpoint_dir": "elsewhere", "seed": 5})
    assert find_resumable(folder, elsewhere, "data", 1) == directory


def damage_settings(directory):
    (directory / "config.yaml").write_text("{")


def keep_only_weights(directory):
    (directory / "training_state.pt").rename(directory / "model.safetensors")


def truncate_state(directory):
    state = directory / "training_state.pt"
    state.write_bytes(state.read_bytes()[:50])


def replace_state(directory):
    checkpoint.save_state(directory / "training_state.pt", ["another", "file"])


@pytest.mark.parametrize("damage", [damage_settings, keep_only_weights, truncate_state, replace_state, shutil.rmtree])
def test_a_run_that_cannot_be_resumed_is_passed_over(config, folder, damage):
    older, newer = interrupted_run(config), interrupted_run(config)
    damage(newer)
    assert find_resumable(folder, config, "data", 1) == older


def test_a_run_interrupted_before_its_first_save_is_found(config, folder):
    interrupted_run(config)
    newer = new_run_directory(config)
    assert find_resumable(folder, config, "data", 1) == newer


class Recorder:
    """Stand in for a run: keep the arguments and leave a result."""

    def __init__(self, config):
        self.config = config
        self.calls = []

    def __call__(self, **arguments):
        self.calls.append(arguments)
        finish(arguments.get("resume") or new_run_directory(self.config), self.config, epochs=9)


def test_a_finished_run_is_reused(config, folder):
    interrupted_run(config)
    finish(new_run_directory(config), config, epochs=3)
    run = Recorder(config)
    assert reuse_or_resume(folder, config, "data", 1, run, {"model": "Mamba4Rec"})["epochs"] == 3
    assert run.calls == []


def test_an_interrupted_run_is_resumed(config, folder):
    directory = interrupted_run(config)
    run = Recorder(config)
    result = reuse_or_resume(folder, config, "data", 1, run, {"model": "Mamba4Rec"})
    assert run.calls == [{"resume": directory}]
    assert result["epochs"] == 9
    assert result["run_directory"] == str(directory)


def test_without_either_a_new_run_starts(config, folder):
    run = Recorder(config)
    assert reuse_or_resume(folder, config, "data", 1, run, {"model": "Mamba4Rec"})["epochs"] == 9
    assert run.calls == [{"model": "Mamba4Rec"}]


def test_of_two_processes_that_need_the_same_run_one_trains_it(config, folder):
    folder.mkdir()
    inner, outer = Recorder(config), Recorder(config)
    asked_meanwhile = []

    def train_while_another_asks(**arguments):
        asked_meanwhile.append(reuse_or_resume(folder, config, "data", 1, inner, {}, wait=False))
        outer(**arguments)

    assert reuse_or_resume(folder, config, "data", 1, train_while_another_asks, {})["epochs"] == 9
    assert asked_meanwhile == [None]
    assert inner.calls == []
    assert reuse_or_resume(folder, config, "data", 1, inner, {}, wait=False)["epochs"] == 9


def test_a_process_that_waited_reuses_what_the_other_trained(config, folder):
    folder.mkdir()
    first, second = Recorder(config), Recorder(config)
    results = []

    def ask():
        results.append(reuse_or_resume(folder, config, "data", 1, second, {}))

    waiting = threading.Thread(target=ask)

    def train_while_another_waits(**arguments):
        waiting.start()
        waiting.join(timeout=0.3)
        first(**arguments)

    reuse_or_resume(folder, config, "data", 1, train_while_another_waits, {})
    waiting.join()
    assert second.calls == []
    assert results[0]["epochs"] == 9
