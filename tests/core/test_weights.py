import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jorip.core.errors import CheckpointError, ConfigError
from jorip.core.weights import Account, Fused, Ignored, NotTied, Reshaped, Rules, Stacked, Tied, Transposed

D = 4
MIXER = [f"layers.{{layer}}.mixer.{n}" for n in "qkv"]
GPT = Rules(
    {
        "wte": "embedding.tokens",
        "h.{layer}.attn.c_attn": Fused(*MIXER, sizes=(D, 2, 2), transposed=True),
        "h.{layer}.attn.c_proj": Transposed("layers.{layer}.mixer.out"),
        "h.{layer}.mlp.experts.{expert}.up": Stacked("layers.{layer}.feed_forward.up", over="expert"),
        "h.{layer}.ln_1.gamma": "layers.{layer}.norm.weight",
        "h.{layer}.attn.mask": Ignored("the causal mask"),
        "lm_head": Tied("wte"),
    },
    prefix="transformer.",
)


def ours(layers: int = 2, experts: int = 3):
    found = {"embedding.tokens.weight": torch.randn(7, D)}
    for i in range(layers):
        p = f"layers.{i}."
        for n, width in zip("qkv", (D, 2, 2)):
            found[f"{p}mixer.{n}.weight"], found[f"{p}mixer.{n}.bias"] = torch.randn(width, D), torch.randn(width)
        found |= {f"{p}mixer.out.weight": torch.randn(D, D), f"{p}mixer.out.bias": torch.randn(D)}
        found |= {f"{p}feed_forward.up.weight": torch.randn(experts, 5, D), f"{p}norm.weight": torch.randn(D)}
    return found


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 12), st.integers(1, 12), st.booleans(), st.booleans())
def test_there_and_back_is_the_same(layers, experts, prefix, extras):
    mine = ours(layers, experts)
    theirs = GPT.save(mine)
    assert all(k.startswith("transformer.") and t.is_contiguous() for k, t in theirs.items())
    if not prefix:
        theirs = {k.removeprefix("transformer."): t for k, t in theirs.items()}
    if extras:
        theirs["lm_head.weight"] = mine["embedding.tokens.weight"].clone()
        theirs |= {f"h.{i}.attn.mask": torch.ones(1) for i in range(layers)}
    assert same(GPT.load(theirs, mine), mine)


def test_every_operation_does_what_it_says():
    mine = ours(1)
    theirs = GPT.save(mine)
    fused = theirs["transformer.h.0.attn.c_attn.weight"]
    assert fused.shape == (D, 8) and torch.equal(fused[:, :D], mine["layers.0.mixer.q.weight"].T)
    assert torch.equal(theirs["transformer.h.0.attn.c_attn.bias"][D:6], mine["layers.0.mixer.k.bias"])
    assert torch.equal(theirs["transformer.h.0.attn.c_proj.weight"], mine["layers.0.mixer.out.weight"].T)
    assert torch.equal(theirs["transformer.h.0.mlp.experts.2.up.weight"], mine["layers.0.feed_forward.up.weight"][2])
    assert torch.equal(theirs["transformer.h.0.ln_1.gamma"], mine["layers.0.norm.weight"])
    assert "transformer.lm_head.weight" not in theirs


def test_types_are_kept():
    mine = {k: t.bfloat16() for k, t in ours().items()}
    assert all(t.dtype == torch.bfloat16 for t in GPT.save(mine).values())
    assert all(t.dtype == torch.bfloat16 for t in GPT.load(GPT.save(mine), mine).values())


def broken(change):
    mine = ours()
    theirs = GPT.save(mine)
    change(theirs)
    return theirs, mine


P = "transformer."
WRONG = [
    (
        lambda t: t.update({"h.0.attn.c_atn.weight": torch.ones(1)}),
        "matched by no rule; closest is 'h.{layer}.attn.c_attn'",
    ),
    (lambda t: t.update({"h.01.attn.c_attn.weight": torch.ones(1)}), "'h.01.attn.c_attn.weight' is matched by no rule"),
    (lambda t: t.pop(P + "h.1.attn.c_proj.bias"), "no weight for 'layers.1.mixer.out.bias'"),
    (lambda t: t.update({P + "h.2.ln_1.gamma": torch.ones(D)}), "no parameter for 'layers.2.norm.weight'"),
    (lambda t: t.pop(P + "h.0.mlp.experts.1.up.weight"), "'h.0.mlp.experts.1.up.weight' is missing: expert must count"),
    (lambda t: t.update({P + "h.0.ln_1.gamma": torch.ones(9)}), "has shape (9,), the model has (4,)"),
    (lambda t: t.update({P + "h.0.attn.c_attn.bias": torch.ones(9)}), "is (9,), expected 4 + 2 + 2 outputs"),
    (lambda t: t.update({P + "h.0.mlp.experts.1.up.weight": torch.ones(9)}), "have different shapes: [(5, 4), (9,)]"),
    (lambda t: t.update({"lm_head.weight": torch.ones(7, D)}), "does not tie them"),
    (lambda t: t.update({"lm_head.weight": t[P + "wte.weight"].double()}), "does not tie them"),
    (lambda t: t.update({"wte.weight": torch.ones(7, D)}), "'wte.weight' is there twice, with and without the prefix"),
    (
        lambda t: t.update({P + "h.1.mlp.experts.1.up.weight": torch.ones(5, D).half()}),
        "'h.1.mlp.experts.*.up.weight' have different types: torch.float16, torch.float32",
    ),
]


@pytest.mark.parametrize(("change", "says"), WRONG, ids=[says for _, says in WRONG])
def test_what_does_not_fit_is_an_error_that_names_it(change, says):
    with pytest.raises(CheckpointError, match=re.escape(says)):
        GPT.load(*broken(change))


def test_a_copy_that_was_stored_alone_stands_for_the_original():
    mine = ours()
    theirs = GPT.save(mine)
    theirs["lm_head.weight"] = theirs.pop(P + "wte.weight")
    account = Account()
    assert same(GPT.load(theirs, mine, account), mine)
    assert account.rows["lm_head"] == ("tied to", ("wte",), ["lm_head.weight"])
    assert account.rows["wte"][2] == []


def test_what_differs_names_the_rule():
    theirs = GPT.save(ours()) | {"lm_head.weight": torch.ones(7, D)}
    with pytest.raises(NotTied) as e:
        GPT.load(theirs, ours())
    assert e.value.rule == "lm_head"


def test_the_account_has_every_key_once():
    mine = ours()
    theirs = GPT.save(mine) | {"h.0.attn.mask": torch.ones(1), "lm_head.weight": mine["embedding.tokens.weight"]}
    account = Account()
    GPT.load(theirs, mine, account)
    assert sorted(k for _, _, keys in account.rows.values() for k in keys) == sorted(theirs)
    assert account.rows["h.{layer}.attn.c_attn"][:2] == ("split", tuple(MIXER)) and account.prefixed
    assert account.rows["h.{layer}.attn.mask"][0] == "ignored: the causal mask"
    bare = Account()
    GPT.load(GPT.save(mine, prefixed=False), mine, bare)
    assert not bare.prefixed and bare.rows["wte"][2] == ["wte.weight"]


def test_names_and_shapes_are_checked_without_memory():
    mine = ours()
    theirs = {k: t.to("meta") for k, t in GPT.save(mine).items()}
    found = GPT.load(theirs, mine)
    assert all(t.is_meta and t.shape == mine[k].shape for k, t in found.items())
    theirs["h.0.ln_1.gamma"] = theirs.pop(P + "h.0.ln_1.gamma")[:2]
    with pytest.raises(CheckpointError, match=r"'layers.0.norm.weight' has shape \(2,\)"):
        GPT.load(theirs, mine)


def test_own_memory_is_taken_once_and_shared_with_nothing():
    mine = ours()
    theirs = GPT.save(mine)
    for t in GPT.load(theirs, mine, own=True).values():
        assert t.is_contiguous() and t.untyped_storage().nbytes() == t.nbytes
        assert all(t.data_ptr() != u.data_ptr() for u in theirs.values())


def test_another_shape_and_older_names():
    rules = Rules(
        {
            "final_logits_bias": Reshaped("readout.out.bias", theirs=(1, -1), mine=(-1,)),
            "lm_head.weight": "readout.out.weight",
            "layers.{i}.norm|layer.{i}.LayerNorm": "layers.{i}.norm",
        },
        old={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    )
    mine = {"readout.out.bias": torch.randn(3), "readout.out.weight": torch.randn(3, 2)}
    mine |= {"layers.0.norm.weight": torch.randn(2), "layers.0.norm.bias": torch.randn(2)}
    theirs = rules.save(mine)
    assert sorted(theirs) == ["final_logits_bias", "layers.0.norm.bias", "layers.0.norm.weight", "lm_head.weight"]
    assert theirs["final_logits_bias"].shape == (1, 3)
    assert same(rules.load(theirs, mine), mine)
    older = {k.replace("layers.0.norm", "layer.0.LayerNorm"): t for k, t in theirs.items()}
    assert same(rules.load(older, mine), mine)
    oldest = {re.sub("Norm.weight$", "Norm.gamma", k).replace("Norm.bias", "Norm.beta"): t for k, t in older.items()}
    assert "layer.0.LayerNorm.gamma" in oldest and same(rules.load(oldest, mine), mine)
    for wrong, says in [
        ({"final_logits_bias": torch.ones(3)}, r"'final_logits_bias' has shape \(3,\), expected \(1, -1\)"),
        ({"layer.0.LayerNorm.beta": torch.ones(2)}, "are two names for one weight"),
        ({"layer.0.LayerNorm.beta": torch.ones(2), "layer.0.LayerNorm.bias": torch.ones(2)}, "is there twice, as"),
    ]:
        with pytest.raises(CheckpointError, match=says):
            rules.load(theirs | wrong, mine)


def test_saving_needs_every_part_and_every_rule():
    mine = ours()
    del mine["layers.1.mixer.k.bias"]
    with pytest.raises(CheckpointError, match=r"'layers.1.mixer.k.bias' is missing, which 'h.\{layer\}.attn.c_attn'"):
        GPT.save(mine)
    with pytest.raises(CheckpointError, match=r"matched by no rule; closest is 'layers.\{layer\}.norm.weight'"):
        GPT.save({"layers.0.norms.weight": torch.ones(1)})
    wrong = ours() | {"layers.1.mixer.k.bias": torch.ones(3)}
    with pytest.raises(CheckpointError, match=r"parts of 'h.1.attn.c_attn.bias' are"):
        GPT.save(wrong)


def test_ambiguous_tables_are_errors():
    rules = Rules({"a.{i}": "b.{i}", "a.{i}.weight": "c.{i}"})
    with pytest.raises(CheckpointError, match=r"'a.1.weight' is matched by 2 rules: 'a.\{i\}', 'a.\{i\}.weight'"):
        rules.load({"a.1.weight": torch.ones(1)}, {})
    twice = Rules({"a": "c", "b": "c"})
    with pytest.raises(CheckpointError, match=r"'c.weight' gets two weights, one of them from 'b'"):
        twice.load({"a.weight": torch.ones(1), "b.weight": torch.ones(1)}, {"c.weight": torch.ones(1)})
    with pytest.raises(ConfigError, match="must have the same placeholders"):
        Rules({"a.{i}": "b.{j}"})
    with pytest.raises(ConfigError, match="stacked over 'e', which it has no placeholder for"):
        Rules({"a": Stacked("b", over="e")})
    with pytest.raises(ConfigError, match="has placeholders that it has not"):
        Rules({"a": Tied("b.{i}")})
    with pytest.raises(ConfigError, match="needs a size for each"):
        Fused("a", "b", sizes=(1,))


def test_a_placeholder_twice_is_the_same_number():
    rules = Rules({"a.{i}.b.{i}": "c.{i}"})
    assert list(rules.load({"a.3.b.3": torch.ones(1)}, {"c.3": torch.ones(1)})) == ["c.3"]
    with pytest.raises(CheckpointError, match="matched by no rule"):
        rules.load({"a.3.b.4": torch.ones(1)}, {})


KEYS = st.text(alphabet="abh.{}0123456789wteightln_", max_size=30)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS, st.integers(0, 2), max_size=4))
def test_any_keys_load_exactly_or_are_an_error(keys):
    theirs = {k: torch.ones((2,) * n) for k, n in keys.items()}
    try:
        found = GPT.load(theirs, {})
    except CheckpointError:
        return
    assert found == {}  # nothing was expected, so only what is ignored may be there
    assert all(re.fullmatch(r"(transformer\.)?h\.\d+\.attn\.mask(\.weight\w*)?", k) for k in theirs)
