"""jorip (조립): the whole Transformer family, built from shared parts.

Names are loaded when they are first used, so that `import jorip` costs little more than `import torch`.
"""

from importlib import import_module

__version__ = "0.1.0"

_WHERE = {
    "Encoder": "architectures.encoder",
    "Decoder": "architectures.decoder",
    "EncoderDecoder": "architectures.encoder_decoder",
    "GeneratorDiscriminator": "architectures.generator_discriminator",
    "Hierarchical": "architectures.hierarchy.hierarchical",
    "Output": "architectures.output",
    "PreNorm": "blocks.pre_norm",
    "PostNorm": "blocks.post_norm",
    "Cycle": "blocks.layers",
    "Each": "blocks.layers",
    "MultiHead": "parts.mixer.multi_head",
    "Rnn": "parts.mixer.recurrent",
    "Lstm": "parts.mixer.recurrent",
    "Convolution": "parts.mixer.convolution",
    "FullyConnected": "parts.mixer.fully_connected",
    "Full": "parts.attention.full",
    "Local": "parts.attention.sparse.local",
    "Star": "parts.attention.sparse.star",
    "Etc": "parts.attention.sparse.etc",
    "BpTransformer": "parts.attention.sparse.bp_transformer",
    "Tree": "parts.attention.patterns.tree",
    "Hubs": "parts.nodes.hubs",
    "SpanNodes": "parts.nodes.spans",
    "BigBird": "parts.attention.sparse.big_bird",
    "LinearAttention": "parts.attention.linear.linear",
    "Performer": "parts.attention.linear.performer",
    "Retention": "parts.attention.linear.retention",
    "GatedLinear": "parts.attention.linear.gated_linear",
    "DeltaNet": "parts.attention.linear.delta_net",
    "GatedDeltaNet": "parts.attention.linear.gated_delta_net",
    "Sparse": "parts.attention.sparse.sparse",
    "Longformer": "parts.attention.sparse.longformer",
    "SparseTransformer": "parts.attention.sparse.sparse_transformer",
    "ImageTransformer": "parts.attention.sparse.image_transformer",
    "Axial": "parts.attention.sparse.axial",
    "SlidingWindow": "parts.attention.sparse.sliding_window",
    "Band": "parts.attention.patterns.band",
    "Dilated": "parts.attention.patterns.band",
    "Global": "parts.attention.patterns.global_",
    "Random": "parts.attention.patterns.random",
    "Strided": "parts.attention.patterns.strided",
    "Fixed": "parts.attention.patterns.strided",
    "Blocks": "parts.attention.patterns.blocks",
    "Blocked": "parts.attention.patterns.blocks",
    "PerHead": "parts.attention.patterns.per_head",
    "Segments": "parts.attention.patterns.grid",
    "Rectangles": "parts.attention.patterns.grid",
    "Dense": "parts.feedforward.dense",
    "Gated": "parts.feedforward.gated",
    "Experts": "parts.feedforward.experts",
    "TopOne": "parts.feedforward.router",
    "LayerNorm": "parts.norm.layer_norm",
    "RmsNorm": "parts.norm.rms_norm",
    "Sinusoidal": "parts.position.sinusoidal",
    "Learned": "parts.position.learned",
    "Rotary": "parts.position.rotary",
    "RelativeBias": "parts.position.relative_bias",
    "Alibi": "parts.position.alibi",
    "NoPosition": "parts.position.none",
    "Tokens": "parts.embedding.tokens",
    "LanguageModel": "parts.readout.language_model",
    "Classifier": "parts.readout.classifier",
    "Tagger": "parts.readout.tagger",
    "MaskedLanguageModel": "parts.readout.masked_language_model",
    "PreTraining": "parts.readout.pre_training",
    "NextSentence": "parts.readout.next_sentence",
    "Pooled": "parts.readout.pooled",
    "Spans": "parts.readout.spans",
    "Xavier": "core.init",
    "Normal": "core.init",
    "Packed": "core.layout",
    "Key": "core.random",
    "recipe": "recipes",
    "recipes": "recipes",
    "open_run": "tasks.run",
    "load": "exchange.load",
    "load_tokenizer": "exchange.tokenizers",
    "save": "exchange.save",
    "generate": "inference.generate",
    "stream": "inference.generate",
    "decode": "inference.generate",
    "cost": "architectures.costing",
    "compare": "compare",
    "diff": "core.spec",
    "JoripError": "core.errors",
}

__all__ = [*_WHERE, "__version__"]


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module 'jorip' has no attribute {name!r}")
    value = getattr(import_module(f"jorip.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
