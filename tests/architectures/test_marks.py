"""Marks of rows: they travel like the tokens, in any form of the inputs, and wrong ones are refused."""

import pytest
import torch

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.architectures.generator_discriminator import GeneratorDiscriminator
from jorip.blocks.pre_norm import PreNorm
from jorip.core.errors import ConfigError, DataError
from jorip.core.layout import Packed
from jorip.parts.attention.patterns.band import Band
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.sparse.longformer import Longformer
from jorip.parts.attention.sparse.sparse import Sparse
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.readout.base import IGNORE
from jorip.parts.readout.masked_language_model import MaskedLanguageModel
from jorip.parts.readout.tagger import Tagger
from tests.contracts.zoo import close, packed, padded, tokens

SIZES = {"vocab_size": 13, "d_model": 8, "n_layers": 2, "n_heads": 2}
MECHANISMS = [
    Longformer(window=1, first=0, tag="question"),
    Longformer(window=1, tag="question", executor="tiles"),
    Sparse(pattern=Band(left=1, right=1) | Global(tag="question"), executor="tiles"),
    Sparse(pattern=Band(left=1, right=1) | Global(tag="question", rows=False)),
]


def layer(mechanism) -> PreNorm:
    return PreNorm(mixer=MultiHead(mechanism=mechanism))


def encoder(mechanism, **more) -> Encoder:
    return Encoder(**SIZES, layer=layer(mechanism), **more)


def marks_of(texts) -> list[torch.Tensor]:
    return [t % 4 == 1 for t in texts]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_marks_go_with_the_tokens_in_every_form(mechanism):
    m = encoder(mechanism).build(seed=1, dtype=torch.float64).eval()
    texts = tokens((9, 1, 14, 6))
    marks = marks_of(texts)
    alone = [m(t[None], marks={"question": x[None]}).hidden[0] for t, x in zip(texts, marks)]
    for where in ("left", "right", "inside"):
        ids, mask = padded(texts, where)
        edge = torch.rand(mask.shape) < 0.5  # what lies under padding is noise
        edge[mask] = torch.cat(marks)
        for given in (edge, packed(marks)):
            hidden = m(ids, mask=mask, marks={"question": given}).hidden
            assert not hidden[~mask].any()
            close(hidden[mask], torch.cat(alone))
    for given in (packed(marks), torch.cat(marks)):
        close(m(packed(texts), marks={"question": given}).hidden, torch.cat(alone))
    none = m(packed(texts), marks={"question": torch.zeros_like(torch.cat(marks))}).hidden
    assert not torch.allclose(none, torch.cat(alone)), "they do something"


def test_wrong_marks_are_refused():
    m = encoder(MECHANISMS[0]).build(seed=1)
    ids, right = torch.ones(2, 5, dtype=torch.int64), torch.zeros(2, 5, dtype=torch.bool)
    for given, found in [
        (right[:, :4], r"\(2, 5\), True = a marked row; found torch\.bool of shape \(2, 4\)"),
        (right.long(), r"marks 'question' must be bool .* found torch\.int64 of shape \(2, 5\)"),
        (right[0], r"found torch\.bool of shape \(5,\)"),
        (Packed.cat([right[0], right[1, :4]]), r"found torch\.bool of packed lengths \[5, 4\]"),
    ]:
        with pytest.raises(DataError, match=found):
            m(ids, marks={"question": given})
    with pytest.raises(ConfigError, match=r"no part of this model reads marks called 'qestion'; did you mean 'questio"):
        m(ids, marks={"qestion": right})
    with pytest.raises(ConfigError, match=r"no part of this model reads marks called 'x'$"):
        Encoder(**SIZES).build(seed=1)(ids, marks={"x": right})
    with pytest.raises(ConfigError, match=r"layers\.0\.mixer: the rows marked 'question' are global here.*marks none"):
        m(ids)


def test_the_encoder_of_a_pair_reads_the_sources_marks():
    spec = EncoderDecoder(encoder=encoder(MECHANISMS[0]), decoder=Decoder(**SIZES))
    m = spec.build(seed=1, dtype=torch.float64).eval()
    texts = tokens((9, 4))
    ids, mask = padded(texts, "left")
    edge = torch.zeros_like(mask)
    edge[mask] = torch.cat(marks_of(texts))
    target = torch.ones(2, 3, dtype=torch.int64)
    want = m(ids, target, source_mask=mask, source_marks={"question": edge}).hidden
    memory = m.encode(ids, mask, marks={"question": edge})
    close(m(None, target, memory=memory).hidden, want)
    close(m(packed(texts), target, source_marks={"question": packed(marks_of(texts))}).hidden, want)
    with pytest.raises(DataError, match=r"source_marks are read while encoding: give them to encode"):
        m(None, target, memory=memory, source_marks={"question": edge})
    with pytest.raises(ConfigError, match=r"are global here, and this call marks none"):
        m(ids, target, source_mask=mask)


@pytest.mark.parametrize("both", [False, True])
def test_generator_and_discriminator(both):
    generator = encoder(MECHANISMS[0] if both else Longformer(window=1, first=1), readout=MaskedLanguageModel())
    spec = GeneratorDiscriminator(generator=generator, discriminator=encoder(MECHANISMS[0], readout=Tagger()))
    m = spec.build(seed=1, dtype=torch.float64).eval()
    texts = tokens((9, 4))
    ids, mask = padded(texts, "right")
    edge = torch.zeros_like(mask)
    edge[mask] = torch.cat(marks_of(texts))
    targets = torch.where(mask & (ids % 3 == 0), ids, IGNORE)
    out = m(ids, mask, targets=targets, marks={"question": edge})
    close(out.logits, m(out.readouts["tokens"], mask, marks={"question": edge}).logits)
    with pytest.raises(ConfigError, match=r"are global here, and this call marks none"):
        m(ids, mask, targets=targets)


def test_gradients_do_not_see_marks_under_padding():
    m = encoder(MECHANISMS[1]).build(seed=1, dtype=torch.float64).eval()
    texts = tokens((9, 4))
    ids, mask = padded(texts, "left")
    edge = torch.ones_like(mask)
    edge[mask] = torch.cat(marks_of(texts))

    def gradients(inputs, marks, mask=None):
        m.zero_grad()
        m(inputs, mask=mask, marks={"question": marks}).hidden.pow(2).sum().backward()
        return [p.grad.clone() for p in m.parameters()]

    for a, b in zip(gradients(ids, edge, mask), gradients(packed(texts), packed(marks_of(texts)))):
        close(a, b)
