"""Pictures of what mixers see: the right pairs, one for each kind of attention, in a terminal and in files."""

import struct

import pytest
import torch

import jorip
from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.blocks.layers import Cycle
from jorip.blocks.pre_norm import PreNorm
from jorip.core.errors import ConfigError
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.mixer.recurrent import Lstm
from jorip.report.patterns import CELLS, Picture, chart, lines, pictures, save

SIZES = {"vocab_size": 13, "d_model": 8, "n_layers": 4, "n_heads": 4}


def model(*mechanisms, kind=Encoder, **more):
    return kind(**SIZES | more, layer=Cycle(*(PreNorm(mixer=MultiHead(mechanism=m)) for m in mechanisms)))


def band(n: int, before: int, after: int) -> torch.Tensor:
    far = torch.arange(n) - torch.arange(n)[:, None]
    return (far >= -before) & (far <= after)


def test_what_is_drawn_is_what_is_seen():
    (p,) = pictures(model(jorip.Local(window=3)), 20)
    assert torch.equal(p.seen, band(20, 3, 3)) and p.layers == tuple(f"layers.{i}.mixer" for i in range(4))
    (p,) = pictures(model(jorip.Local(window=3), kind=Decoder), 20)
    assert torch.equal(p.seen, band(20, 2, 0)) and p.causal and not p.everything
    (p,) = pictures(model(jorip.Full()), 20)
    assert p.seen.all() and p.everything and p.name == "full"
    (p,) = pictures(model(jorip.Full(), kind=Decoder), 20)
    assert torch.equal(p.seen, torch.ones(20, 20).tril().bool()) and p.everything
    (p,) = pictures(model(jorip.Longformer(window=1, first=2)), 20)
    want = band(20, 1, 1)
    want[:2] = want[:, :2] = True
    assert torch.equal(p.seen, want), "with what global rows read through projections of their own"
    (p,) = pictures(model(jorip.Longformer(window=1, first=0, tag="x")), 20)
    want = band(20, 1, 1)
    want[6] = want[:, 6] = True
    assert torch.equal(p.seen, want) and p.title.endswith("(20 rows, one row marked 'x')")


def test_the_shortest_length_at_which_it_shows():
    for window, rows in ((3, 48), (100, 384), (100_000, 48)):
        (p,) = pictures(model(jorip.Local(window=window)))
        assert len(p.seen) == rows and p.everything == (window > 1000)
    (p,) = pictures(model(jorip.Local(window=100), max_len=200))
    assert len(p.seen) == 48, "never longer than the model's sequences; none shows, so the shortest"
    (p,) = pictures(model(jorip.Local(window=40), max_len=200))
    assert len(p.seen) == 192


def test_each_kind_of_attention_once():
    mixed = model(jorip.Full(), jorip.Local(window=2), jorip.BigBird(block=2, random=1), jorip.Full())
    found = pictures(mixed, 40)
    assert [(p.name, p.layers) for p in found] == [
        ("full", ("layers.0.mixer", "layers.3.mixer")),
        ("local", ("layers.1.mixer",)),
        ("big_bird", ("layers.2.mixer",)),
    ]  # fmt: skip
    pair = EncoderDecoder(encoder=model(jorip.Local(window=2)), decoder=model(jorip.Local(window=2), kind=Decoder))
    assert [p.layers[0] for p in pictures(pair, 10)] == ["encoder.layers.0.mixer", "decoder.layers.0.mixer"]
    assert [p.causal for p in pictures(pair, 10)] == [False, True]
    assert pictures(Encoder(**SIZES, layer=PreNorm(mixer=Lstm()))) == []
    (star,) = pictures(model(jorip.Star(), nodes=jorip.Hubs(count=2)), 10)
    assert star.seen[:2].all() and star.seen[:, :2].all() and not star.seen[5, 8]


def test_heads_that_differ():
    split = jorip.SparseTransformer(stride=4, factors="strided", heads="split")
    one, two = pictures(model(split), 20)
    assert (one.heads, two.heads) == ("heads 0, 1", "heads 2, 3") and one.layers == two.layers
    assert torch.equal(one.seen, band(20, 4, 4))
    (p,) = pictures(model(jorip.Sparse(pattern=jorip.Random(count=2))), 20)
    assert p.heads == "head 0 of 4, which differ"
    assert p.title == "layers.0.mixer and 3 more: sparse (20 rows, head 0 of 4, which differ)"


def test_lines_are_half_blocks():
    assert lines(Picture((), "", "", band(4, 0, 0), False)) == ["┌────┐", "│▀▄  │", "│  ▀▄│", "└────┘"]
    assert lines(Picture((), "", "", band(3, 1, 0), True)) == ["┌───┐", "│█▄ │", "│ ▀▀│", "└───┘"]
    assert lines(Picture((), "", "", band(1, 0, 0), True)) == ["┌─┐", "│▀│", "└─┘"]
    drawn = lines(Picture((), "", "", band(1000, 0, 0), True))
    assert len(drawn) == CELLS // 2 + 2 and all(len(line) == CELLS + 2 for line in drawn)
    assert all(row[2 * i + 1 : 2 * i + 3] == "▀▄" for i, row in enumerate(drawn[1:-1])), "not lost when it is thin"


def test_shares_of_cells():
    p = Picture((), "", "", torch.ones(100, 100).tril().bool(), True)
    assert p.shares.shape == (48, 48) and p.shares[5, 3] == 1 and p.shares[3, 5] == 0 and 0.5 < p.shares[7, 7] < 1
    assert torch.equal(Picture((), "", "", band(9, 1, 1), False).shares, band(9, 1, 1).float())


def test_files(tmp_path):
    found = pictures(model(jorip.Full(), jorip.Local(window=2)), 20)
    assert len(chart(found)["concat"]) == 2
    save(found, tmp_path / "a.png")
    save(found, tmp_path / "a.svg")
    head = (tmp_path / "a.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and min(struct.unpack(">II", head[16:24])) > 400
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text.startswith("<svg") and "local (20 rows)" in text and 'xmlns="http://www.w3.org/2000/svg"' in text
    with pytest.raises(ConfigError, match=r"a picture is a \.png or \.svg file, found '.*a\.gif'"):
        save(found, tmp_path / "a.gif")
    with pytest.raises(ConfigError, match=r"there is nothing to draw: no mixer of this model has an attention map"):
        save([], tmp_path / "a.png")
