"""ELECTRA's pair (2003.10555): a small generator fills blanks, a discriminator tells which tokens are its inventions.

Both are encoders over one token table. What is kept after pre-training is the discriminator: without targets the model
is the discriminator, and `pretrained()` is an encoder of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from jorip.architectures.base import Architecture, Model, marked, marks_read, training_key
from jorip.architectures.encoder import Encoder, assemble_stack, stack_costs
from jorip.architectures.output import Output
from jorip.architectures.single import SingleStack
from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.entry import check_tokens, enter
from jorip.core.errors import SpecError
from jorip.core.layout import Packed, Rows
from jorip.core.random import Key, mix_ints, row_keys, salt
from jorip.core.site import Site
from jorip.ops.cross_entropy import cross_entropy
from jorip.ops.draw import draw, replace
from jorip.parts.readout.base import IGNORE
from jorip.parts.readout.language_model import LanguageModelReadout

_DRAWS = salt("generator_discriminator.draws")


class GeneratorDiscriminator(Architecture):
    """generator: with a readout over the vocabulary; discriminator: with a `tagger` of two classes, 1 = replaced. Equal
    vocab_size and d_model: tokens (and learned positions) are shared, as in section 3.2; a generator of a quarter to a
    half of the discriminator's size works best, by fewer layers here."""

    generator: Encoder
    discriminator: Encoder

    def site(self) -> Site:
        for name in ("vocab_size", "d_model"):
            a, b = getattr(self.generator, name), getattr(self.discriminator, name)
            if a != b:
                raise SpecError(
                    f"{self.kind}: embeddings are shared, so {name} must be equal: found {a} (generator) and {b}"
                )
        if self.generator.readout is None or self.discriminator.readout is None:
            raise SpecError(f"{self.kind}: the generator needs a readout over tokens, the discriminator a tagger")
        return self.discriminator.site("discriminator")

    def assemble(self, site: Site) -> GeneratorDiscriminatorModel:
        generator = assemble_stack(self.generator, self.generator.site("generator"))
        discriminator = assemble_stack(self.discriminator, site)
        generator.spec, discriminator.spec = self.generator, self.discriminator
        model = GeneratorDiscriminatorModel(generator, discriminator)
        model.spec = self
        model.tie()
        return model

    def n_sublayers(self) -> int:
        return self.discriminator.n_sublayers()

    def costs(self, shape: Shape) -> dict[str, Cost]:
        return stack_costs(self.generator, self.generator.site("generator"), shape) | stack_costs(
            self.discriminator, self.site(), shape
        )


class GeneratorDiscriminatorModel(Model):
    def __init__(self, generator: SingleStack, discriminator: SingleStack):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def tie(self) -> None:
        for part in ("embedding", "position"):
            mine = dict(leaves(getattr(self.generator, part)))
            for name, (owner, leaf) in leaves(getattr(self.discriminator, part)):
                if name in mine and getattr(mine[name][0], leaf).shape == getattr(owner, leaf).shape:
                    setattr(mine[name][0], leaf, getattr(owner, leaf))
        self.generator.tie()
        self.discriminator.tie()

    def pretrained(self) -> Model:
        """The discriminator as an encoder of its own: what is fine-tuned."""
        assert isinstance(self.spec, GeneratorDiscriminator)
        model = self.spec.discriminator.build(dtype=self.dtype, seed=0)
        model.load_state_dict(self.discriminator.state_dict())
        return model.to(next(self.parameters()).device).train(self.training)

    def forward(
        self,
        inputs: Tensor | Packed,
        /,
        mask: Tensor | None = None,
        *,
        targets: Tensor | None = None,
        label_smoothing: float = 0.0,
        key: Key | None = None,
        capture: tuple[str, ...] = (),
        marks: Mapping[str, Tensor | Packed] | None = None,
    ) -> Output:
        """inputs (batch, length) int64 or Packed: a text, or with targets a text with hidden tokens; targets, like
        inputs: what the hidden ones are, IGNORE elsewhere; marks: as an encoder's.

        With targets: logits are the discriminator's about the text with the generator's draws; loss: its cross-entropy
        (sum over all tokens, tokens); readouts: `generator` (its loss, a sum over hidden tokens, which takes the
        smoothing), `replaced` and `tokens` (like inputs: the labels, and the text with the draws).
        """
        if targets is None:
            return self.discriminator(inputs, mask, key=key, capture=capture, marks=marks)
        tokens, at = enter(inputs, mask, None, None)
        at = marked(at, marks, self)
        wanted = targets if targets.shape == tokens.shape else at.take(targets)
        key = training_key(self, key)
        own, noted, drawn = self.generate(tokens, wanted, at, key, label_smoothing)
        text, labels = replace(tokens, wanted, drawn)
        known = marks_read(self.discriminator)
        tags = {name: tag for name, tag in at.tags.items() if name in known}
        out = self.discriminator(Packed(text, at.lengths, at.uid), key=key, capture=capture, marks=tags)
        out.loss = cross_entropy(out.logits, labels), labels.new_tensor(labels.numel())
        out.hidden, out.logits = at.edge(out.hidden), at.edge(out.logits)
        out.readouts |= {"generator": own, "replaced": at.edge(labels), "tokens": at.edge(text)}
        out.aux_losses |= noted
        return out

    def generate(self, tokens: Tensor, wanted: Tensor, at, key: Key | None, smoothing: float):
        """The generator's loss (a sum), its auxiliary losses, and its draws for the hidden places."""
        stack = self.generator
        check_tokens(tokens, stack.vocab_size, at, stack.max_len)
        ctx = Context(mask=stack.mask_rule, key=key, position=stack.position)
        h = stack.run(tokens, at, ctx)[-1]
        index = (wanted != IGNORE).nonzero()[:, 0]
        assert isinstance(stack.readout, LanguageModelReadout)
        logits = stack.readout.logits(Rows(h.x[index], at), ctx)
        keys = row_keys(at.uid[at.sample], at.order)[index]
        drawn = draw(logits, keys, _DRAWS if key is None else mix_ints(key.seed, key.step, _DRAWS))
        noted = {".".join(name): value for name, value in ctx.notes.items() if name[1].endswith("loss")}
        return cross_entropy(logits, wanted[index], smoothing), noted, drawn


def leaves(module: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
    """Each parameter's name, with the module that holds it and its name there."""
    for name, _ in list(module.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        yield name, (module.get_submodule(owner), leaf)
