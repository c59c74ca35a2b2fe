import math

import pytest
import torch

from recbole_echomamba import Trainer, load_run, run
from recbole_echomamba.__main__ import main
from recbole_echomamba.inspection import (
    compute_filter_magnitudes,
    evaluate_without_parts,
    find_parts,
    inspect,
    measure_memories,
    switch_off,
)
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    settings = {**SMALL, "data_path": str(data_path), "checkpoint_dir": str(tmp_path_factory.mktemp("saved"))}
    changed = {"epochs": 2, "learning_rate": 0.01, "num_layers": 2}
    return run("EchoMamba4Rec", "cycle", config_dict={**settings, **changed})["run_directory"]


def test_the_page_shows_filters_memory_and_parts(trained, tmp_path, capsys):
    assert main(["inspect", trained, f"--out={tmp_path / 'page.html'}"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "blocks.1.pairs.0.backward_mamba" in page
    for part in ["spectral filter", "forward Mamba", "backward Mamba", "gated linear unit"]:
        assert f"without {part}" in page
    assert str(tmp_path / "page.html") in capsys.readouterr().out


def test_magnitudes_are_those_of_the_complex_weights(trained):
    _, model, *_ = load_run(trained)
    found = compute_filter_magnitudes(model)
    assert list(found) == ["blocks.0.filter", "blocks.1.filter"]
    weight = model.blocks[1].filter.weight
    assert found["blocks.1.filter"].shape == (SMALL["MAX_ITEM_LIST_LENGTH"] // 2 + 1, SMALL["hidden_size"])
    assert float(found["blocks.1.filter"][2, 3]) == pytest.approx(math.hypot(*weight[2, 3].tolist()))


def test_step_sizes_are_those_of_real_items_and_memory_is_one_over_delta_times_decay(trained):
    config, model, _, _, valid, _ = load_run(trained)
    layer = model.blocks[0].pairs[1].backward_mamba
    with torch.no_grad():
        layer.dt_proj.weight.zero_()
        layer.dt_proj.bias.fill_(-2.0)  # then every step is softplus(-2)
        layer.A_log[3, 1] = math.log(7.0)
    found = measure_memories(model, valid, config)
    assert len(found) == 8  # two blocks of two pairs of two directions
    step = math.log1p(math.exp(-2))
    memory = found["blocks.0.pairs.1.backward_mamba"]
    assert memory.delta.flatten().tolist() == pytest.approx([step] * memory.delta.numel(), rel=1e-5)
    assert float(memory.lengths[3, 1]) == pytest.approx(1 / (7 * step), rel=1e-5)
    items = sum(int((interaction["item_id_list"] > 0).sum()) for interaction, *_ in valid)
    assert all(len(each.delta) == items for each in found.values())
    assert model.shortcut is True


def test_a_part_is_off_inside_and_back_after(trained):
    _, model, *_ = load_run(trained)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parts = find_parts(model)
    assert list(parts) == ["spectral filter", "forward Mamba", "backward Mamba", "gated linear unit"]
    with pytest.raises(RuntimeError), switch_off(parts["backward Mamba"]):
        assert all(not pair.backward_mamba.out_proj.weight.any() for block in model.blocks for pair in block.pairs)
        assert model.blocks[0].pairs[0].forward_mamba.out_proj.weight.any()
        raise RuntimeError
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_table_compares_the_whole_model_with_each_part_off(trained):
    config, model, _, train, valid, _ = load_run(trained)
    table = evaluate_without_parts(config, model, train, valid)
    place, whole = table.header.index("ndcg@5"), Trainer(config, model).evaluate(valid, load_best_model=False)["ndcg@5"]
    rows = {row[0]: row[place] for row in table.rows}
    assert rows.pop("whole model") == f"{whole:.4f}"
    for part, parameters in find_parts(model).items():
        with switch_off(parameters):
            alone = Trainer(config, model).evaluate(valid, load_best_model=False)["ndcg@5"]
        assert rows[f"without {part}"] == f"{alone:.4f} ({alone / whole - 1:+.0%})"
    assert len(set(rows.values())) > 1


def test_mamba4rec_has_a_page_and_a_model_without_our_parts_none(settings, tmp_path):
    made = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1})["run_directory"]
    assert "without feed-forward" in inspect(made).read_text()
    made = run("GRU4Rec", "cycle", config_dict={**settings, "epochs": 1, "embedding_size": 16})["run_directory"]
    with pytest.raises(ValueError, match="GRU4Rec has neither"):
        inspect(made)


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 1
    assert "is not a run directory" in capsys.readouterr().err
