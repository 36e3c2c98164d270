"""Pairs of stacks: a target made from the source, what the encoder notes, tables shared and apart."""

import pytest
import torch

import jorip
from jorip.core.errors import DataError, SpecError
from jorip.core.layout import Packed
from jorip.parts.readout.tagger import Tagger

SIZES = {"vocab_size": 11, "d_model": 12, "n_layers": 1, "n_heads": 2, "max_len": 9}


def pair(readout, **fields):
    return jorip.EncoderDecoder(
        encoder=jorip.Encoder(**SIZES), decoder=jorip.Decoder(**SIZES, readout=readout), **fields
    )


@pytest.mark.parametrize("side", ["right", "left"])
def test_without_a_target_the_decoder_reads_the_source_behind_start(side):
    model = pair(Tagger(n_classes=3), start=2).build(seed=0, dtype=torch.float64).eval()
    sources = [torch.tensor([5, 6, 7]), torch.tensor([8]), torch.tensor([], dtype=torch.int64), torch.tensor([3, 4])]
    targets = [torch.cat([s.new_tensor([2]), s[:-1]]) if len(s) else s for s in sources]
    made = model(Packed.cat(sources)).logits
    assert torch.equal(made, model(Packed.cat(sources), Packed.cat(targets)).logits)
    tokens, mask = torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3, dtype=torch.bool)
    for i, s in enumerate(sources):
        place = slice(0, len(s)) if side == "right" else slice(3 - len(s), 3)
        tokens[i, place], mask[i, place] = s, True
    padded = model(tokens, source_mask=mask).logits
    assert padded.shape == (4, 3, 3) and not padded[~mask].any()
    torch.testing.assert_close(padded[mask], made)


def test_a_whole_sequence_is_decided_from_its_last_row():
    model = pair(jorip.Classifier(n_classes=3, pool="last"), start=2).build(seed=0)
    source = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(source).logits, model(source, torch.tensor([[2, 5, 6]])).logits)
    loss, count = model(source, targets=torch.tensor([1])).loss
    loss.backward()
    assert count == 1 and model.encoder.embedding.tokens.weight.grad.abs().sum() > 0


def test_what_cannot_be_read_is_refused():
    plain = pair(jorip.LanguageModel()).build(seed=0)
    with pytest.raises(DataError, match="give the target, which the decoder reads: only a model with `start`"):
        plain(torch.tensor([[5, 6]]))
    with pytest.raises(SpecError, match="start must be an id, 0 to 10, found 11"):
        pair(jorip.LanguageModel(), start=11).build(device="meta")
    made = pair(jorip.LanguageModel(), start=2).build(seed=0)
    with pytest.raises(DataError, match="give the target"):
        made(None, memory=made.encode(torch.tensor([[5, 6]])))


def test_what_the_encoder_notes_is_in_the_output():
    model = pair(jorip.LanguageModel()).build(seed=0)
    for side, value in (("encoder", 2.0), ("decoder", 3.0)):
        part = getattr(model, side).layers[0].feed_forward
        plain = part.forward

        def noting(x, ctx, plain=plain, side=side, value=value):
            ctx.notes[f"{side}.layers.0.feed_forward", "balance_loss"] = torch.tensor(value)
            return plain(x, ctx)

        part.forward = noting
    tokens = torch.tensor([[5, 6]])
    losses = {f"{side}.layers.0.feed_forward.balance_loss": v for side, v in (("encoder", 2.0), ("decoder", 3.0))}
    assert {k: float(v) for k, v in model(tokens, tokens).aux_losses.items()} == losses
    assert list(model(None, tokens, memory=model.encode(tokens)).aux_losses) == list(losses)[1:]


@pytest.mark.parametrize("tied", [True, False])
def test_shared_tables_and_a_readout_that_may_have_its_own(tied):
    model = pair(jorip.LanguageModel(tied=tied), share="embeddings").build(seed=0)
    table = model.encoder.embedding.tokens.weight
    assert model.decoder.embedding.tokens.weight is table
    assert (model.decoder.readout.out.weight is table) == tied
