"""Switch Transformers in and out: which layers are sparse, capacity that binds, tied and untied."""

import pytest
import torch
import transformers as hf
from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersTop1Router

import jorip
from jorip.core.errors import CheckpointError
from jorip.recipes.family import Config
from jorip.recipes.switch import FAMILY
from tests.parity.compare import check, exact, refuses, same, save, shake
from tests.parity.seq2seq import check_pairs, pair, pair_generation, pair_grads
from tests.parity.test_t5 import rewritten

SIZES = {
    "vocab_size": 53, "d_model": 15, "d_kv": 5, "d_ff": 11, "num_layers": 4, "num_decoder_layers": 3, "num_heads": 2,
    "num_experts": 3, "num_sparse_encoder_layers": 2, "num_sparse_decoder_layers": 1, "expert_capacity": 64,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 5, "dropout_rate": 0.0,
    "router_jitter_noise": 0.0, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 2,
}  # fmt: skip


def made(kind, **more):
    """With the routers' own float32 lifted when the model is made double."""
    model = kind(hf.SwitchTransformersConfig(**SIZES | more))
    for module in model.modules():
        if isinstance(module, SwitchTransformersTop1Router):
            module.dtype = torch.float64
    return model


@pytest.mark.parametrize(
    "more, encoder, decoder",
    [
        ({}, [1, 3], [1]),
        ({"expert_capacity": 1, "num_experts": 2}, [1, 3], [1]),
        ({"num_sparse_encoder_layers": 4, "num_sparse_decoder_layers": 3, "router_bias": True, "expert_capacity": 2},
         [0, 1, 2, 3], [0, 1, 2]),
        ({"num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 0, "dense_act_fn": "gelu_new"}, [1], [1]),
        ({"num_layers": 8, "num_sparse_encoder_layers": 3, "num_decoder_layers": None, "num_experts": 1},
         [1, 3, 5, 7], [1]),
        ({"num_layers": 7, "encoder_sparse_step": 3, "decoder_sparse_step": 0, "expert_capacity": 0}, [1, 4], []),
        ({"num_sparse_encoder_layers": 9, "num_decoder_layers": 1, "num_sparse_decoder_layers": 1}, [], [0]),
    ],
    ids=str,
)  # fmt: skip
def test_sequence_to_sequence(more, encoder, decoder, tmp_path):
    """Layers 1, 1 + step ... are sparse; where no step is written, it is layers // sparse layers."""
    ours = check_pairs(made(hf.SwitchTransformersForConditionalGeneration, **more), tmp_path, 53)
    assert sparse(ours.spec.encoder) == encoder and sparse(ours.spec.decoder) == decoder


def sparse(stack) -> list[int]:
    return [i for i in range(stack.n_layers) if stack.layer.of(i).feed_forward.kind == "experts"]


def test_untied(tmp_path):
    """Three tables and a fourth that nothing reads, which is written back as it was."""
    theirs = made(hf.SwitchTransformersForConditionalGeneration, tie_word_embeddings=False, num_experts=5)
    theirs = shake(theirs).double().eval()
    embed = theirs.encoder.embed_tokens.weight
    assert embed is not theirs.shared.weight and theirs.lm_head.weight is not theirs.shared.weight
    ours = jorip.load(save(theirs, tmp_path / "theirs"))
    pairs, inputs, masks = pair(53, "right")
    with exact():
        same(ours(*pairs, **masks).logits, theirs(**inputs).logits, masks["target_mask"], 1e-10)
    pair_grads(theirs, ours, pairs, inputs, masks, 1e-10)
    pair_generation(theirs, ours, 53, ("right",))
    folder = jorip.save(ours, tmp_path / "back", format="hf")
    again, info = type(theirs).from_pretrained(folder, output_loading_info=True, dtype=torch.float64)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    want = theirs.state_dict()
    assert all(torch.equal(t, want[n]) for n, t in again.state_dict().items())
    assert jorip.load(folder).spec == ours.spec


def test_without_a_head(tmp_path):
    check_pairs(made(hf.SwitchTransformersModel), tmp_path, 53, generates=False)


def test_the_encoder_alone(tmp_path):
    theirs = made(hf.SwitchTransformersEncoderModel, expert_capacity=2)
    ours = check(theirs, tmp_path, 53, sides=("right",), generates=False)
    assert ours.spec.kind == "encoder" and sparse(ours.spec) == [1, 3]


def test_files_of_the_hub(tmp_path):
    """Fields that early versions wrote; all copies of the shared table."""
    theirs = shake(made(hf.SwitchTransformersForConditionalGeneration)).double()
    folder = save(theirs, tmp_path / "old")
    fields = {"router_type": "tokens_masked", "batch_prioritized_routing": False, "feed_forward_proj": "relu"}
    fields |= {"is_gated_act": False, "n_positions": 512, "bos_token_id": None, "tie_word_embeddings": None}
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    rewritten(folder, fields, **{n: theirs.shared.weight.detach().clone() for n in names})
    assert jorip.load(folder).spec == jorip.load(save(theirs, tmp_path / "new")).spec


def test_router_losses(tmp_path):
    """Of one sequence and one sparse layer a side, where theirs, by sequence, and ours, by batch, are the same."""
    sizes = {"num_layers": 2, "num_decoder_layers": 2, "num_sparse_encoder_layers": 1, "expert_capacity": 2}
    theirs = shake(made(hf.SwitchTransformersForConditionalGeneration, **sizes)).double().eval()
    ours = jorip.load(save(theirs, tmp_path / "theirs"))
    pairs = torch.randint(3, 53, (2, 1, 9), generator=torch.Generator().manual_seed(0))
    with exact(), torch.no_grad():
        want = theirs(input_ids=pairs[0], decoder_input_ids=pairs[1], output_router_logits=True)
        got = ours(*pairs).aux_losses
    for side in ("encoder", "decoder"):
        for mine, other in (("balance", "aux"), ("z", "z")):
            value = 0.001 * want[f"{side}_{other}_loss"]
            torch.testing.assert_close(got.pop(f"{side}.layers.1.feed_forward.{mine}_loss"), value, rtol=1e-6, atol=0)
    assert not got


def test_recipes():
    model = jorip.recipe("switch-base-8").build(device="meta")
    assert sum(p.numel() for p in model.parameters()) == 619_339_008
    ours = jorip.recipe("switch-base-8").override({"**.capacity": 64, "**.capacity_factor": None, "**.balance": 1e-3})
    steps = {"num_sparse_encoder_layers": 6, "num_sparse_decoder_layers": 6, "d_ff": 3072}
    theirs = FAMILY.read(
        Config(hf.SwitchTransformersConfig(**steps).to_dict()), "SwitchTransformersForConditionalGeneration"
    )
    assert theirs == ours.override({"**.z": 1e-3})
    assert sparse(jorip.recipe("switch-base-8").decoder) == [1, 3, 5, 7, 9, 11]


def test_refusals(tmp_path):
    theirs = made(hf.SwitchTransformersForConditionalGeneration)
    folder = save(theirs, tmp_path / "theirs")
    refuses(rewritten(folder, {"router_dtype": "bfloat16"}), "router_dtype: 'bfloat16' is not supported")
    refuses(rewritten(folder, {"router_dtype": None, "expert_capacity": -1}), "capacity")
    refuses(rewritten(folder, {"expert_capacity": 2, "num_experts": 4}), "experts.up")
    fresh = jorip.recipe("switch-base-8", vocab_size=31, d_model=8, n_layers=2, n_heads=2, head_dim=3, d_ff=5)
    with pytest.raises(CheckpointError, match="capacity_factor: None there"):
        FAMILY.write(fresh)
    absolute = fresh.override({"**.capacity": 4, "**.capacity_factor": None})
    assert FAMILY.write(absolute)[0]["expert_capacity"] == 4
