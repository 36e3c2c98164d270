"""Path lengths that costs promise are those that the Jacobian shows, for every mixer there is."""

import pytest

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.blocks.layers import Cycle
from jorip.blocks.pre_norm import PreNorm
from jorip.core.cost import Shape
from jorip.parts.attention.sparse.local import Local
from jorip.parts.mixer.convolution import Convolution
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.mixer.recurrent import Lstm
from tests.contracts.reach import draws_links, feels, layers_needed, promised
from tests.contracts.zoo import SITES

SIZES = {"vocab_size": 9, "d_model": 8, "n_layers": 4, "n_heads": 2}


@pytest.mark.parametrize("spec, causal", SITES)
def test_every_mixer_reaches_as_far_as_it_says(spec, causal):
    for length in (2, 9):
        path, steps = promised(spec, causal, length)
        layers = layers_needed(spec, causal, length)
        assert path in (layers, layers * steps) or (draws_links(spec) and path >= layers), length


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("spec", [Convolution(), Convolution(kernel=5), Convolution(dilation="double")])
def test_convolutions_at_more_lengths(spec, causal):
    for length in (3, 6, 10, 17):
        assert layers_needed(spec, causal, length) == promised(spec, causal, length)[0] >= 1


def test_what_a_layer_feels():
    near = feels(MultiHead(mechanism=Local(window=2)), True, 5, 0)
    assert near.tolist() == [[0 <= i - j <= 1 for j in range(5)] for i in range(5)]
    dilated = feels(Convolution(kernel=2, dilation="double"), True, 5, 1)
    assert dilated.tolist() == [[i - j in (0, 2) for j in range(5)] for i in range(5)]


def test_the_path_of_a_stack():
    """Residual connections pass layers by, so the shortest kind of layer counts; operations in sequence add."""
    shape, window = Shape(1, 33), MultiHead(mechanism=Local(window=4))
    full, near, lstm = PreNorm(), PreNorm(mixer=window), PreNorm(mixer=Lstm())

    def of(layer):
        return Encoder(**SIZES, layer=layer).cost(shape)

    assert of(near).path == of(near).total.path == 8 and of(full).path == 1 and of(lstm).path == 33
    assert of(Cycle(near, full)).path == 1 and of(Cycle(near, lstm)).path == 8
    assert of(full).total.sequential == 8 and of(Cycle(full, lstm)).total.sequential == 2 * 2 + 2 * 34
    both = EncoderDecoder(encoder=Encoder(**SIZES, layer=near), decoder=Decoder(**SIZES))
    assert both.cost(shape).path == 8  # the encoder's own; from source to target it is 1
    assert Encoder(**SIZES | {"n_layers": 0}).cost(shape).path == 0
