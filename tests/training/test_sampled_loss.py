"""Training with a sampled loss and with an optimiser that updates only the rows that a step has read."""

import pytest
import torch

from recbole_echomamba import Config, get_model, run
from recbole_echomamba.experiment import build
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.training.checkpoint import load_state
from recbole_echomamba.training.lazy_adam import LazyAdam
from tests.conftest import ITEMS

SAMPLED = {"loss_type": "SampledCE", "train_negatives": 6}


def weights(result):
    return load_state(f"{result['run_directory']}/training_state.pt", "cpu")["model"]


@pytest.mark.parametrize("more", [{}, {"negative_distribution": "uniform"}, {"learner": "lazy_adam"}])
@pytest.mark.parametrize("train_positions", ["last", "all"])
def test_a_model_learns_from_a_sampled_loss_and_resumes_exactly(settings, more, train_positions):
    changed = {**SAMPLED, "train_positions": train_positions, "learning_rate": 0.02, **more}
    whole = run("Mamba4Rec", "cycle", config_dict={**settings, **changed, "epochs": 4})
    assert whole["test_result"]["hit@5"] > 0.7
    half = run("Mamba4Rec", "cycle", config_dict={**settings, **changed, "epochs": 2})
    resumed = run(resume=half["run_directory"], config_dict={"epochs": 4})
    assert resumed["test_result"] == whole["test_result"]
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


@pytest.mark.parametrize("distribution", ["popularity", "uniform"])
def test_items_are_drawn_as_often_as_the_loss_expects(settings, distribution):
    changed = {**SAMPLED, "negative_distribution": distribution, "train_negatives": 12}
    model = build(Config("Mamba4Rec", "cycle", config_dict={**settings, **changed})).model
    torch.manual_seed(0)
    counts = torch.zeros(ITEMS + 1, dtype=torch.float64)
    log_expected = torch.full((ITEMS + 1,), -torch.inf)
    for _ in range(4000):
        sampled, log_expected_of_sampled = model._sampler.draw(1)
        counts.index_add_(0, sampled[0], torch.ones(12, dtype=torch.float64))
        log_expected[sampled[0]] = log_expected_of_sampled[0]
    assert counts[0] == 0
    assert torch.allclose((counts / 4000)[1:], log_expected.exp()[1:].double(), rtol=0.1)


def make_parameters(sparse):
    torch.manual_seed(1)
    embedding = torch.nn.Embedding(5, 3, sparse=sparse)
    linear = torch.nn.Linear(3, 1)
    return embedding, linear, [*embedding.parameters(), *linear.parameters()]


def test_lazy_adam_is_adam_where_every_row_is_read():
    updated = []
    for sparse in (False, True):
        embedding, linear, parameters = make_parameters(sparse)
        optimizer = (LazyAdam if sparse else torch.optim.Adam)(parameters, lr=0.1)
        for step in range(6):
            optimizer.zero_grad()
            rows = torch.tensor([0, 1, 2, 3, 4, step % 5])
            (linear(embedding(rows)).sum() * (step + 1) + embedding(rows).square().sum()).backward()
            optimizer.step()
        updated.append([each.detach() for each in parameters])
    for dense, lazy in zip(*updated, strict=True):
        assert torch.allclose(dense, lazy, rtol=1e-5, atol=1e-6)


def test_lazy_adam_leaves_rows_that_a_step_does_not_read():
    embedding, _, parameters = make_parameters(sparse=True)
    optimizer = LazyAdam(parameters, lr=0.1)
    embedding(torch.tensor([0, 1])).sum().backward()
    optimizer.step()
    before = embedding.weight.detach().clone()
    optimizer.zero_grad()
    embedding(torch.tensor([1, 3])).square().sum().backward()
    optimizer.step()
    changed = (embedding.weight != before).any(1)
    assert changed.tolist() == [False, True, False, True, False]


REFUSED = {
    "too many negatives": ({"train_negatives": ITEMS + 1}, "train_negatives is 13, but there are 12 items"),
    "lazy with all items": (
        {"loss_type": "CE", "learner": "lazy_adam"},
        "lazy_adam updates the items that a step reads",
    ),
    "weight decay": ({"learner": "lazy_adam", "weight_decay": 0.1}, "weight_decay needs all of them"),
    "clipping": ({"learner": "lazy_adam", "clip_grad_norm": {"max_norm": 1}}, "clip_grad_norm needs all of them"),
    "negatives of the loader": ({"train_neg_sample_args": {"distribution": "uniform"}}, "SampledCE reads no negative"),
    "no distribution": ({"negative_distribution": "x"}, "negative_distribution is 'x'; choose uniform or popularity"),
    "none": ({"train_negatives": 0}, "train_negatives must be a whole number of at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_sampled_loss_cannot_work_with_is_refused(settings, case):
    changed, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        build(Config("Mamba4Rec", "cycle", config_dict={**settings, **SAMPLED, **changed}))


@pytest.mark.parametrize("changed", [{"loss_type": "SampledCE"}, {"learner": "lazy_adam"}])
def test_models_of_recbole_keep_their_own_losses(settings, changed):
    with pytest.raises(UserError, match="is for EchoMamba4Rec, Mamba4Rec and models derived from them, not SASRec"):
        Config("SASRec", "cycle", config_dict={**settings, **changed})


def test_a_sampled_loss_is_suggested_where_scoring_all_items_is_most_of_the_work(settings, monkeypatch, caplog):
    monkeypatch.setattr("recbole_echomamba.experiment.MANY_ITEMS", 5)
    result = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1})
    assert any("loss_type: SampledCE" in words for words in result["warnings"])
    result = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1, "loss_type": "CE"})
    assert not any("loss_type: SampledCE" in words for words in result["warnings"])


def test_settings_of_the_sampled_loss_do_not_change_the_hash_of_other_runs(settings):
    assert get_model("Mamba4Rec")
    plain = Config("Mamba4Rec", "cycle", config_dict=settings)
    assert Config("Mamba4Rec", "cycle", config_dict={**settings, "train_negatives": 1024}).hash == plain.hash
    assert Config("Mamba4Rec", "cycle", config_dict={**settings, **SAMPLED}).hash != plain.hash
