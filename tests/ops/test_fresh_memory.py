import pytest
import torch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_fresh_memory_holds_nan_in_the_tests_of_this_folder(dtype):
    ones = torch.ones(3, 4, dtype=dtype)
    packed = torch.contiguous_format
    for fresh in (torch.empty(3, dtype=dtype), torch.empty_like(ones, memory_format=packed), ones.new_empty(2, 5)):
        assert torch.isnan(fresh).all()
