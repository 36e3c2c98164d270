import pytest
import torch
from torch import nn

import jorip
from jorip.core.errors import ConfigError
from jorip.training.config import OptimizerConfig
from jorip.training.optimizer import build_optimizer, freeze, parameter_groups, rates
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


def decoder():
    return jorip.Decoder(vocab_size=7, d_model=4, n_layers=3, n_heads=2, position=jorip.Learned(), max_len=5).build(
        seed=0
    )


def test_layers_learn_slower_the_deeper_they_lie():
    model = decoder()
    share = rates(model, 0.5)
    by_name = {n: share[id(p)] for n, p in model.named_parameters()}
    assert by_name["norm.weight"] == 1 and by_name["layers.2.mixer.q.weight"] == 0.5
    assert by_name["layers.0.feed_forward.up.bias"] == 0.125
    assert by_name["embedding.tokens.weight"] == by_name["position.weight"] == 0.0625
    groups = parameter_groups(model, 0.1, 0.5)
    assert [g["scale"] for g in groups] == [1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    assert set(rates(model, None).values()) == {1.0}


def test_each_stack_of_a_pair_counts_its_own_layers():
    side = {"vocab_size": 7, "d_model": 4, "n_heads": 2}
    pair = jorip.EncoderDecoder(encoder=jorip.Encoder(**side, n_layers=1), decoder=jorip.Decoder(**side, n_layers=2))
    model = pair.build(seed=0)
    share = rates(model, 0.5)
    by_name = {n: share[id(p)] for n, p in model.named_parameters()}
    assert by_name["encoder.layers.0.mixer.q.weight"] == 0.5 and by_name["encoder.embedding.tokens.weight"] == 0.25
    assert by_name["decoder.layers.0.mixer.q.weight"] == 0.25 and by_name["decoder.embedding.tokens.weight"] == 0.125


def test_frozen_paths():
    model = decoder()
    freeze(model, ("embedding", "layers.0"))
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen and all(n.startswith(("embedding.", "layers.0.")) for n in frozen)
    with pytest.raises(ConfigError, match=r"no parameter at 'layer\.0'; did you mean 'layers.0'"):
        freeze(model, ("layer.0",))
    with pytest.raises(ConfigError, match="every parameter is frozen"):
        freeze(model, ("embedding", "layers", "norm", "position", "readout"))
