"""No damage to a file of a run goes unnoticed, and a result is only that of the weights it was measured on."""

import json

import numpy as np
import pytest

from recbole_echomamba import load_run, recommend, run
from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.training.run_directory import find_finished
from recbole_echomamba.training.trainer import Trainer


def read_ranks(directory):
    Comparison("cycle", {"": [{"run_directory": str(directory)}]}, {}, None, None, None).ranks("")


READERS = {
    "config.yaml": [load_run, lambda directory: run(resume=directory, config_dict={"epochs": 2})],
    "model.safetensors": [load_run, lambda directory: recommend(directory, users=["u1"])],
    "vocabulary.parquet": [load_run],
    "training_state.pt": [lambda directory: run(resume=directory, config_dict={"epochs": 2})],
    "result.json": [lambda directory: find_finished(directory.parent)],
    "test_ranks.parquet": [read_ranks],
}
CASES = [(name, index) for name, readers in READERS.items() for index in range(len(readers))]


@pytest.mark.parametrize(("name", "reader"), CASES)
def test_every_reader_of_a_file_notices_a_flipped_bit(run_directory, name, reader):
    file = run_directory / name
    content = bytearray(file.read_bytes())
    draw = np.random.default_rng(0)
    for position in [0, len(content) - 1, *draw.integers(0, len(content), 3)]:
        damaged = content.copy()
        damaged[position] ^= 1 << int(draw.integers(0, 8))
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name} is damaged or has been changed"):
            READERS[name][reader](run_directory)


def test_a_damaged_manifest_is_named(run_directory):
    file = run_directory / "manifest.json"
    file.write_text(file.read_text().replace('"digest": "', '"digest": "0'))
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        load_run(run_directory)


def test_a_result_is_not_current_once_the_weights_have_moved_on(run_directory, monkeypatch):
    folder = run_directory.parent
    key = tuple(
        json.loads((run_directory / "result.json").read_text())[k] for k in ("config_hash", "data_hash", "seed")
    )
    assert key in find_finished(folder)
    original = Trainer._save_checkpoint

    def saved_then_interrupted(self, *arguments, **more):
        original(self, *arguments, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_save_checkpoint", saved_then_interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(resume=run_directory, config_dict={"epochs": 30, "stopping_step": 30})
    assert (run_directory / "result.json").exists()
    assert key not in find_finished(folder)


def test_leftovers_of_a_killed_process_are_removed_when_the_run_is_resumed(run_directory):
    leftover = run_directory / f".training_state.pt.{'0' * 16}"
    leftover.write_bytes(b"half")
    own = run_directory / ".notes"
    own.write_text("kept")
    run(resume=run_directory, config_dict={"epochs": 2})
    assert not leftover.exists()
    assert own.exists()
