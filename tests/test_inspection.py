import math
import re

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_echomamba import Recommender, Trainer, load_run, ops, run
from recbole_echomamba.__main__ import main
from recbole_echomamba.comparison.statistics import compute_ndcg_per_target, run_paired_test
from recbole_echomamba.inspection import history, inspect
from recbole_echomamba.inspection.filters import compute_filter_magnitudes, compute_impulse_responses
from recbole_echomamba.inspection.memory import measure_memories
from recbole_echomamba.inspection.names import describe_module
from recbole_echomamba.inspection.parts import (
    Evaluation,
    describe_evaluations,
    evaluate_without_parts,
    find_parts,
    switch_off,
    tabulate_evaluations,
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
    assert page.count("data:image/png;base64,") == 4
    assert "block 2, pair 1, backward Mamba" in page
    assert "blocks." not in page
    assert (
        page.index("Report of 20")
        < page.index("EchoMamba4Rec has a validation NDCG@10 of")
        < page.index("<h2>Spectral")
    )
    for part in ["spectral filter", "forward Mamba", "backward Mamba", "gated linear unit"]:
        assert f"without {part}" in page
    assert str(tmp_path / "page.html") in capsys.readouterr().out


def test_a_run_without_a_validation_part_is_refused(data_path, tmp_path, capsys):
    settings = {**SMALL, "data_path": str(data_path), "epochs": 1, "eval_args": {"split": {"LS": "test_only"}}}
    directory = run("Mamba4Rec", "cycle", config_dict={**settings, "checkpoint_dir": str(tmp_path)})["run_directory"]
    capsys.readouterr()
    assert main(["inspect", directory]) == 1
    assert "has no validation part, on which a run is inspected" in capsys.readouterr().err


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
    table = tabulate_evaluations(evaluate_without_parts(config, model, train, valid), 10)
    whole = Trainer(config, model).evaluate(valid, load_best_model=False)["ndcg@5"]
    (cells,) = [dict(zip(table.header, row, strict=True)) for row in table.rows if row[0] == "ndcg@5"]
    assert cells.pop("metric") == "ndcg@5"
    assert cells.pop("whole model") == f"{whole:.4f}"
    for part, parameters in find_parts(model).items():
        with switch_off(parameters):
            alone = Trainer(config, model).evaluate(valid, load_best_model=False)["ndcg@5"]
        assert cells[f"without {part}"] == f"{alone:.4f} ({alone / whole - 1:+.0%})"
    assert len(set(cells.values())) > 1


def test_what_a_part_is_worth_has_the_interval_of_a_paired_test_over_users(trained):
    config, model, _, train, valid, _ = load_run(trained)
    k = int(config["valid_metric"].partition("@")[2])
    table = tabulate_evaluations(evaluate_without_parts(config, model, train, valid), k)
    trainer = Trainer(config, model)

    def measure():
        trainer.evaluate(valid, load_best_model=False)
        return compute_ndcg_per_target(pd.DataFrame(trainer.eval_collector.ranks()), k)

    whole = measure()
    with switch_off(find_parts(model)["backward Mamba"]):
        change = run_paired_test("", (measure() - whole).to_numpy())
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows[f"NDCG@{k} change"]["without backward Mamba"] == f"{change.mean:+.4f}"
    assert rows["95% interval"]["without backward Mamba"] == f"{change.low:+.4f} to {change.high:+.4f}"
    assert change.low < change.high
    assert rows["95% interval"]["whole model"] == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([-0.01, -0.05], "It relies most on its b: without it NDCG@10 falls by 0.0500, more than chance over users"),
        ([-0.0001, 0.05], "It relies most on its a: without it NDCG@10 falls by 0.0001, which may be chance"),
        ([0.01, 0.05], "NDCG@10 does not fall: it relies on none of them alone"),
        ([], None),
    ],
)
def test_the_page_begins_with_the_part_that_the_model_relies_on_most(changes, said):
    noise = np.array([-0.02, 0.02] * 50)
    evaluations = [Evaluation(None, {"mrr@5": 0.25})]
    for part, mean in zip("ab", changes, strict=False):
        evaluations.append(Evaluation(part, {"mrr@5": 0.2}, run_paired_test(part, noise + mean)))
    headline, details = describe_evaluations(evaluations, "Model", "MRR@5", 10)
    assert headline == "Model has a validation MRR@5 of 0.2500."
    assert said in details[0] if said else not details


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("blocks.0.pairs.1.forward_mamba", "block 1, pair 2, forward Mamba"),
        ("blocks.11.filter", "block 12, spectral filter"),
        ("layers.0.mamba", "layer 1, Mamba"),
        ("0.my_part", "0, my part"),
    ],
)
def test_modules_have_readable_names(name, readable):
    assert describe_module(name) == readable


def test_the_impulse_response_is_what_the_filter_makes_of_a_single_item(trained):
    _, model, *_ = load_run(trained)
    found = compute_impulse_responses(model)
    assert list(found) == ["blocks.0.filter", "blocks.1.filter"]
    impulse = torch.zeros(1, SMALL["MAX_ITEM_LIST_LENGTH"], SMALL["hidden_size"])
    impulse[0, 0] = 1.0
    filtered = ops.spectral_filter(impulse, model.blocks[1].filter.weight.detach())[0]
    assert torch.allclose(found["blocks.1.filter"], filtered, atol=1e-6)
    assert filtered.abs().max() > 1e-3


def test_the_effect_of_an_item_is_the_score_with_it_less_the_score_without(trained):
    recommender = Recommender(*load_run(trained)[:3], (trained, None, None))
    found = history.explain_recommendations(recommender, "u1", k=2)
    ids = recommender.dataset.id2token("item_id", found.items).tolist()
    assert len(ids) == SMALL["MAX_ITEM_LIST_LENGTH"]
    shorter = [ids[:i] + ids[i + 1 :] for i in range(len(ids))]
    for item, effects in zip(found.recommended, found.effects, strict=True):
        own_id = str(recommender.dataset.id2token("item_id", int(item)))
        scores = recommender.recommend(histories=[ids, *shorter], items=[own_id], topk=1)["score"].to_numpy()
        assert effects.tolist() == pytest.approx((scores[0] - scores[1:]).tolist(), abs=1e-5)
    best = recommender.recommend(users=["u1"], topk=2)
    assert found.scores.tolist() == pytest.approx(best["score"].tolist())
    assert found.effects.abs().max() > 1e-3


def test_the_page_of_a_user_names_titles_and_an_unknown_user_is_refused(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        history, "read_titles", lambda config: {f"i{number}": f"Film <{number}>" for number in range(100)}
    )
    assert main(["inspect", trained, "--user=u1", f"--out={tmp_path / 'page.html'}"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "What the recommendations for user u1 came from" in page
    assert re.search(r"<h3>1\. Film &lt;\d+&gt; \(i\d+\), score", page)
    assert re.search(r"<tr><td>Film &lt;\d+&gt; \(i\d+\)</td><td>1</td>", page)
    for table in page.split("<h3>")[1:]:
        effects = [float(cell) for cell in re.findall(r"<td>([+-]\d\.\d+)</td></tr>", table)]
        assert effects == sorted(effects, reverse=True)
    assert main(["inspect", trained, "--user=nobody", f"--out={tmp_path / 'none.html'}"]) == 1
    assert "nobody" in capsys.readouterr().err
    assert not (tmp_path / "none.html").exists()


def test_any_model_has_a_page_and_two_stand_side_by_side(trained, settings, tmp_path):
    made = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1})["run_directory"]
    assert "without feed-forward" in inspect(made).read_text()
    other = run("GRU4Rec", "cycle", config_dict={**settings, "epochs": 1, "embedding_size": 16})["run_directory"]
    assert "Validation metrics" in inspect(other).read_text()
    assert main(["inspect", made, other, f"--out={tmp_path / 'two.html'}"]) == 0
    page = (tmp_path / "two.html").read_text()
    assert "Inside Mamba4Rec and GRU4Rec" in page
    first, second = (page.index(f"<strong>{label}</strong>") for label in ("A: Mamba4Rec", "B: GRU4Rec"))
    assert page.index("<h2>Run</h2>") < first < second < page.index("<h2>Step sizes")
    page = inspect(trained, tmp_path / "same.html", other=made).read_text()
    assert page.count("<h2>What each part contributes</h2>") == 1
    assert "without spectral filter" in page
    assert "without feed-forward" in page


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 1
    assert "is not a run directory" in capsys.readouterr().err
