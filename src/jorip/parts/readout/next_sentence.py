"""Next-sentence readout (Devlin et al. 2018, 1810.04805): does the second segment follow the first? From the pooler."""

from __future__ import annotations

from torch import nn

from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.parts.readout.base import Readout
from jorip.parts.readout.classifier import Classifier, ClassifierReadout

POOLER = Classifier(n_classes=2, pool="first", hidden=True)


class NextSentence(Readout):
    """Logits (batch, 2): class 0 = it follows, 1 = it is from elsewhere, as BERT numbers them. A `classifier` over the
    pooled first row, under a name of its own."""

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> ClassifierReadout:
        return POOLER.build(site, embedding, vocab_size)

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        return POOLER.cost(site, shape, vocab_size)
