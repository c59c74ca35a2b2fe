import random

import numpy as np
import pytest
import torch

from recbole_echomamba.training import checkpoint


class One(torch.nn.Linear):
    pass


class Other(torch.nn.Linear):
    pass


def test_weights_come_back_as_they_were(tmp_path):
    torch.manual_seed(0)
    first, second = One(3, 2), One(3, 2)
    checkpoint.save_weights(first, tmp_path / "w.safetensors")
    checkpoint.load_weights(second, tmp_path / "w.safetensors")
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_truncated_weights_are_refused_and_the_model_stays_as_it_was(tmp_path, kept):
    model = One(3, 2)
    before = model.weight.clone()
    file = tmp_path / "w.safetensors"
    checkpoint.save_weights(One(3, 2), file)
    file.write_bytes(file.read_bytes()[:kept])
    # as in a run directory of a version that kept no digests
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"w\.safetensors is truncated or damaged"):
        checkpoint.load_weights(model, file)
    assert torch.equal(model.weight, before)


def test_weights_of_another_model_or_shape_are_refused(tmp_path):
    file = tmp_path / "w.safetensors"
    checkpoint.save_weights(One(3, 2), file)
    with pytest.raises(ValueError, match="weights of One, not of Other"):
        checkpoint.load_weights(Other(3, 2), file)
    with pytest.raises(ValueError, match=r"weight has shape \[2, 3\], the model needs \[2, 4\]"):
        checkpoint.load_weights(One(4, 2), file)
    with pytest.raises(ValueError, match="bias is extra"):
        checkpoint.load_weights(One(3, 2, bias=False), file)
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors"):
        checkpoint.load_weights(One(3, 2), tmp_path / "gone.safetensors")


def test_a_training_state_needs_no_pickle_and_a_damaged_one_is_refused(tmp_path):
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    state = {"epoch": 3, "random": checkpoint.random_states(), "weights": {"a": torch.ones(2)}}
    file = tmp_path / "state.pt"
    checkpoint.save_state(file, state)
    loaded = checkpoint.load_state(file, "cpu")
    assert loaded["random"]["python"] == state["random"]["python"]
    assert torch.equal(loaded["weights"]["a"], torch.ones(2))
    file.write_bytes(file.read_bytes()[:100])
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(ValueError, match="truncated or damaged"):
        checkpoint.load_state(file, "cpu")
