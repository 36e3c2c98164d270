"""Switch Transformers (Fedus et al. 2021, 2101.03961): T5 with experts in place of every other feed-forward."""

from __future__ import annotations

import dataclasses
from typing import Any

from jorip.architectures.base import Architecture
from jorip.architectures.encoder import Encoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.blocks.base import Block
from jorip.blocks.layers import Cycle
from jorip.core.weights import Ignored, Rules, Stacked, Tied
from jorip.parts.feedforward.experts import Experts
from jorip.parts.feedforward.router import TopOne
from jorip.parts.readout.language_model import LanguageModel
from jorip.recipes import t5
from jorip.recipes.bart import Apart, both
from jorip.recipes.fields import At, Config, Fields, Only, Unused, get
from jorip.recipes.pair import lone


def switch(n_experts: int = 8, **sizes: int) -> EncoderDecoder:
    """619 M parameters with 8 experts: t5-base (`sizes` are its) with experts in every second layer."""
    spec = t5.t5(**sizes)
    layers = {s: sparse(getattr(spec, s), Experts(n_experts=n_experts), 2) for s in t5.SIDES}
    return spec.override({f"{s}.layer": layer for s, layer in layers.items()})


def base_16() -> EncoderDecoder:
    """1.1 G parameters."""
    return switch(16)


def base_32() -> EncoderDecoder:
    """2.0 G parameters."""
    return switch(32)


def base_64() -> EncoderDecoder:
    """3.8 G parameters."""
    return switch(64)


def base_128() -> EncoderDecoder:
    """7.4 G parameters."""
    return switch(128)


def large_128() -> EncoderDecoder:
    """26 G parameters."""
    return switch(128, d_model=1024, n_layers=24, n_heads=16, d_ff=4096)


def sparse(stack: Encoder, like: Experts, step: int) -> Block:
    """The stack's layer, with experts in layers 1, 1 + step, 1 + 2 step ... (in all where step is 1, in none where it
    is 0), each of the size of the dense feed-forward that was there."""
    dense: Any = stack.layer
    size = {n: getattr(dense.feed_forward, n) for n in ("d_ff", "activation", "dropout")}
    other = dense.override({"feed_forward": like.with_fields(**size)})
    blocks = [other if step == 1 or i % step == 1 else dense for i in range(min(step, stack.n_layers))]
    return Cycle(blocks=tuple(blocks)) if len(set(blocks)) > 1 else [*blocks, dense][0]


def _adjust(spec: Any, config: Config) -> Architecture:
    tied = config.take("tie_word_embeddings", True) is not False
    router = TopOne(
        capacity_factor=None, capacity=config.take("expert_capacity", 64), bias=config.take("router_bias", False),
        jitter=config.take("router_jitter_noise", 0.01), balance=config.take("router_aux_loss_coef", 0.001),
        z=config.take("router_z_loss_coef", 0.001),
    )  # fmt: skip
    like = Experts(n_experts=config.take("num_experts", 8), router=router)
    layers = config.take("num_decoder_layers", 12)
    steps = {}
    for side, n in (("encoder", get(spec, "encoder.n_layers") or get(spec, "n_layers")), ("decoder", layers)):
        count = config.take(f"num_sparse_{side}_layers", 3)
        n = get(spec, "encoder.n_layers") if n is None else n
        steps[side] = max(config.take(f"{side}_sparse_step", n // count if count > 0 else n), 0)
    if isinstance(spec, Encoder):
        return spec.override({"layer": sparse(spec, like, steps["encoder"])})
    spec = spec.override({"decoder.n_layers": spec.encoder.n_layers if layers is None else layers})
    changes: dict[str, Any] = {f"{s}.layer": sparse(getattr(spec, s), like, steps[s]) for s in t5.SIDES}
    if spec.decoder.readout is not None:
        changes["decoder.readout"] = LanguageModel(tied=tied, scale="inverse_sqrt" if tied else "none")
    return spec.override(changes | {"share": "embeddings" if tied else "none"})


def _describe(spec: Any) -> dict[str, Any]:
    pair = isinstance(spec, EncoderDecoder)
    stacks = {s: getattr(spec, s) for s in t5.SIDES} if pair else {"encoder": spec}
    found = {s: [b.feed_forward for b, _ in stack.layer_sites(stack.site())] for s, stack in stacks.items()}
    experts = next((f for side in found.values() for f in side if isinstance(f, Experts)), Experts())
    fields: dict[str, Any] = {"num_experts": experts.n_experts, "tie_word_embeddings": not pair or spec.share != "none"}
    for side, feeds in found.items():
        at = [i for i, f in enumerate(feeds) if isinstance(f, Experts)]
        step = 0 if not at else 1 if len(at) == len(feeds) else at[1] - at[0] if len(at) > 1 else len(feeds)
        fields |= {f"{side}_sparse_step": step, f"num_sparse_{side}_layers": len(feeds) // step if step else 0}
    router: Any = experts.router
    names = {"router_bias": "bias", "router_jitter_noise": "jitter", "router_aux_loss_coef": "balance"}
    fields |= {theirs: getattr(router, ours) for theirs, ours in names.items()}
    fields |= {"router_z_loss_coef": router.z, "expert_capacity": 64 if router.capacity is None else router.capacity}
    first = get(stacks["encoder"], "layer.feed_forward")
    fields["d_ff"] = first.width(stacks["encoder"].site())
    return fields | {"num_decoder_layers": stacks[[*stacks][-1]].n_layers, "is_encoder_decoder": pair}


FEED = {
    "mlp.wi": "up",
    "mlp.wo": "down",
    "mlp.router.classifier": "router",
    "mlp.experts.expert_{expert}.wi": lambda ours: Stacked(ours + "experts.up", over="expert"),
    "mlp.experts.expert_{expert}.wo": lambda ours: Stacked(ours + "experts.down", over="expert"),
}


def _rules(spec: Any) -> Rules:
    if not isinstance(spec, EncoderDecoder):
        table = {"shared": "embedding.tokens", "encoder.embed_tokens": Tied("shared")}
        return Rules(table | t5.stack_rules("encoder", "", FEED))
    table = t5.stack_rules("encoder", "encoder.", FEED) | t5.stack_rules("decoder", "decoder.", FEED)
    head = {"lm_head": Tied("shared") if spec.share != "none" else "decoder.readout.out"}
    table |= head if spec.decoder.readout is not None else {}
    if spec.share == "none":
        table |= {f"{s}.embed_tokens": f"{s}.embedding.tokens" for s in t5.SIDES}
        return Apart(table | {"shared": Ignored("nothing reads it")})
    table |= {f"{s}.embed_tokens": Tied("shared") for s in t5.SIDES}
    return Rules(table | {"shared": "encoder.embedding.tokens"})


def _fields(table: Fields) -> Fields:
    """T5's, with Switch's defaults."""
    dropout = table["dropout_rate"]
    assert isinstance(dropout, At)
    return {k: v for k, v in table.items() if k != "classifier_dropout"} | {
        "d_model": At(both("d_model"), 768),
        "num_layers": At("encoder.n_layers", 12),
        "num_heads": At(both("n_heads"), 12),
        "d_ff": At(both("layer.feed_forward.d_ff"), 2048),
        "dropout_rate": At(f"{dropout.paths} {both('layer.feed_forward.dropout')}", 0.1),
        "dense_act_fn": At(both("layer.feed_forward.activation"), "relu", t5.ACTIVATIONS),
        "router_dtype": Only("float32"),
        "router_ignore_padding_tokens": Unused(False),
        "add_router_probs": Unused(False),
        "add_cross_attention": Unused(),
        # of the first files; transformers does not read them
        **dict.fromkeys(("router_type", "batch_prioritized_routing", "feed_forward_proj", "is_gated_act"), Unused()),
    }


_TABLE = _fields(t5.FIELDS)
_SHARED: dict[str, Any] = {
    "model_type": "switch_transformers", "base": t5.t5, "fields": _TABLE, "rules": _rules, "adjust": _adjust,
    "describe": _describe,
}  # fmt: skip
assert t5.FAMILY.alone is not None
FAMILY = dataclasses.replace(
    t5.FAMILY,
    **_SHARED,
    heads={
        "SwitchTransformersForConditionalGeneration": t5.FAMILY.heads["T5ForConditionalGeneration"],
        "SwitchTransformersModel": t5.FAMILY.heads["T5Model"],
    },
    alone=dataclasses.replace(
        t5.FAMILY.alone,
        **_SHARED | {"base": t5.FAMILY.alone.base, "fields": lone(_TABLE)},
        heads={"SwitchTransformersEncoderModel": lambda c: None},
    ),
    quirks=(
        *t5.QUIRKS[:2],
        "expert_capacity is a number of tokens per expert and sequence, whatever the sequence's length; the paper's is "
        "a factor of tokens per expert, the default of new models.",
        "transformers counts padding before a token against its expert's capacity; here padding is never routed.",
        "In float32 training transformers' router jitter also reaches the experts' input; here, as in the paper, only "
        "the router's.",
        "transformers adds the router losses only when asked for the router's logits; here training always adds them, "
        "with the coefficients of the config, the balance over the micro-batch instead of each sequence.",
        "Untied models have a `shared` table that nothing reads; a new model writes a copy of the encoder's.",
    ),
)
