"""What all tests share: one thread, a fixed seed, and torch left as it was found."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)
    yield
    assert torch.get_default_dtype() == torch.float32, "a test changed the default dtype"
    assert torch.is_grad_enabled(), "a test left gradients switched off"
