import pytest
import torch

from recbole_echomamba.system.ranks import is_distributed, is_first_on_machine, is_main_process, process_rank


def test_a_single_process_is_the_main_process():
    config = {"single_spec": True, "local_rank": 0}
    assert not is_distributed(config)
    assert process_rank(config) == 0
    assert is_main_process(config)
    assert is_first_on_machine(config)


@pytest.mark.parametrize(
    ("rank", "local_rank", "main", "first_on_machine"),
    [(0, 0, True, True), (1, 1, False, False), (2, 0, False, True), (3, 1, False, False)],
)
def test_of_two_machines_with_two_processes_only_one_process_is_the_main_process(
    monkeypatch, rank, local_rank, main, first_on_machine
):
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    config = {"single_spec": False, "local_rank": local_rank}
    assert is_distributed(config)
    assert process_rank(config) == rank
    assert is_main_process(config) == main
    assert is_first_on_machine(config) == first_on_machine
