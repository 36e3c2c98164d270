import torch
from torch import nn

from jorip.training.config import OptimizerConfig
from jorip.training.optimizer import build_optimizer, parameter_groups
from tests.training.toy import ToyModel


class Table(nn.Module):
    role = "embedding"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 2))


def test_norms_biases_and_embeddings_do_not_decay():
    model = ToyModel()
    decayed, spared = parameter_groups(model, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(model.hidden.weight)]
    assert decayed["weight_decay"] == 0.1 and spared["weight_decay"] == 0
    # the readout is tied to the embedding: once, and not decayed
    assert {id(p) for p in spared["params"]} == {
        id(p) for p in (model.embedding.weight, model.norm.weight, model.norm.bias, model.hidden.bias)
    }


def test_roles_are_read_and_frozen_parameters_left_out():
    model = nn.Sequential(Table(), nn.Linear(2, 2))
    model[1].bias.requires_grad_(False)
    decayed, spared = parameter_groups(model, 0.1)
    assert decayed["params"] == [model[1].weight] and spared["params"] == [model[0].weight]


def test_it_is_torch_adamw():
    config = OptimizerConfig(lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.5)
    ours, theirs = nn.Linear(3, 4), nn.Linear(3, 4)
    theirs.load_state_dict(ours.state_dict())
    a = build_optimizer(ours, config)
    b = torch.optim.AdamW([theirs.weight], lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.5)
    for _ in range(3):
        x = torch.randn(5, 3)
        for model, optimizer in ((ours, a), (theirs, b)):
            optimizer.zero_grad()
            (model(x)).square().sum().backward()
            optimizer.step()
        with torch.no_grad():
            theirs.bias.copy_(ours.bias)
    torch.testing.assert_close(ours.weight, theirs.weight)
