"""The map: every row of the survey's module and architecture level (Lin et al. 2021, 2106.04554), and what exists here.

Plain data, no torch: `rows()` answers at once, `Row.spec()` resolves its example among the registered parts. A row is
working when it has an example; the tests build and run every example, and refuse an example that no part stands behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SIZES = {"vocab_size": 32, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_len": 32}  # of all examples: tiny

SIDES = {"encoder_decoder": ("encoder", "decoder"), "generator_discriminator": ("generator", "discriminator")}


@dataclass(frozen=True)
class Row:
    """id: the survey row (taxonomy), None for what the survey does not name; kind: branch of the tree; paper: arXiv id,
    or where it was published, None where the survey names no paper; example: `{architecture: {fields besides sizes}}`,
    None while it is planned; repeats: rows that name the same thing."""

    id: str | None
    name: str
    kind: str
    paper: str | None = None
    example: dict[str, dict[str, Any]] | None = field(default=None, hash=False)
    repeats: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """One of "working", "planned"."""
        return "planned" if self.example is None else "working"

    def spec(self):
        """The example as an architecture spec. Raises KeyError when the row is only planned."""
        from jorip.architectures.base import Architecture

        if self.example is None:
            raise KeyError(f"{self.id or self.name} is planned, it has no example yet")
        ((kind, fields),) = self.example.items()
        if sides := SIDES.get(kind):
            return Architecture.parse({kind: {side: SIZES | fields.get(side, {}) for side in sides}})
        return Architecture.parse({kind: SIZES | fields})

    def as_dict(self) -> dict[str, str | None]:
        """What `jorip list --json` prints."""
        return {"id": self.id, "name": self.name, "kind": self.kind, "status": self.status, "paper": self.paper}


def rows() -> list[Row]:
    """The survey's rows in its order, then the parts beyond it."""
    named = [
        Row(id, name, kind, paper or None, EXAMPLES.get(id), REPEATS.get(id, ()))
        for kind, group in SURVEY.items()
        for id, name, paper in group
    ]
    return named + BEYOND


def dense(activation: str) -> dict[str, Any]:
    return {"encoder": {"layer": {"pre_norm": {"feed_forward": {"dense": {"activation": activation}}}}}}


def heads(mechanism: Any, stack: str = "encoder") -> dict[str, Any]:
    return {stack: {"layer": {"pre_norm": {"mixer": {"multi_head": {"mechanism": mechanism}}}}}}


def mixer(name: str, **fields: Any) -> dict[str, Any]:
    return {"decoder": {"layer": {"pre_norm": {"mixer": {name: fields}}}}}


EXAMPLES: dict[str, dict[str, Any]] = {
    "A1.1": heads({"sparse": {"pattern": {"global": {"first": 1}}}}),
    "A1.2": mixer("multi_head", mechanism={"local": {"window": 3}}),
    "A1.3": heads({"sparse": {"pattern": {"dilated": {"left": 2, "right": 2, "gap": 2}}}}),
    "A1.4": heads({"sparse": {"pattern": {"random": {"count": 2}}}}),
    "A1.5": heads({"sparse": {"pattern": {"blocks": {"size": 2}}}}),
    "A1.7": heads({"longformer": {"window": 2, "dilation": [1, 2]}}),
    "A1.10": heads({"sparse_transformer": {"stride": 4, "count": 1}}, "decoder"),
    "A1.11": {
        "decoder": {
            "layer": {
                "cycle": {
                    "blocks": [
                        {"pre_norm": {}},
                        {"pre_norm": {"mixer": {"multi_head": {"mechanism": {"local": {"window": 3}}}}}},
                    ]
                }
            }
        }
    },
    "A1.13": heads({"image_transformer": {"width": 4, "block": [2, 2], "memory": [1, 1]}}, "decoder"),
    "A1.14": {
        "encoder": {
            "layer": {
                "cycle": {
                    "blocks": [
                        {"pre_norm": {"mixer": {"multi_head": {"mechanism": {"axial": {"width": 4, "axis": axis}}}}}}
                        for axis in ("row", "column")
                    ]
                }
            }
        }
    },
    "A1.9": {"encoder": {"layer": {"pre_norm": {"mixer": {"multi_head": {"mechanism": "big_bird"}}}}}},
    "A1.6": {
        "encoder": {
            "nodes": {"hubs": {"start": "mean"}},
            "layer": {"pre_norm": {"mixer": {"multi_head": {"mechanism": "star"}}}},
        }
    },
    "A1.8": {
        "encoder": {
            "nodes": {"hubs": {"count": 2}},
            "layer": {"pre_norm": {"mixer": {"multi_head": {"mechanism": {"etc": {"window": 2}}}}}},
        }
    },
    "A1.12": {
        "decoder": {
            "nodes": "spans",
            "layer": {"pre_norm": {"mixer": {"multi_head": {"mechanism": {"bp_transformer": {"near": 2}}}}}},
        }
    },
    "A3.1": heads({"linear": {"features": "elu"}}, "decoder"),
    "A3.2": heads({"linear": {"features": {"fourier": {"count": 8}}}}),
    "A3.3": heads({"linear": {"features": {"positive": {"count": 8}}}}, "decoder"),
    "A3.4": heads({"linear": {"features": {"rfa": {"count": 8}}}}, "decoder"),
    "A3.5": heads({"linear": {"features": {"relu": {"count": 8}}}}, "decoder"),
    "A3.6": heads({"linear": {"features": {"dpfp": {"nu": 2}}}}, "decoder"),
    "A3.7": heads({"linear": {"rule": "sum"}}),
    "A3.8": heads({"linear": {"rule": "gated"}}, "decoder"),
    "A3.9": heads({"linear": {"features": "dpfp", "rule": "delta"}}, "decoder"),
    "A8.8": {"decoder": {"n_kv_heads": 1}},
    "A8.9": {"encoder": {"head_dim": 32}},
    "P1.1": {"encoder": {"position": "sinusoidal"}},
    "P1.2": {"encoder": {"position": "learned"}},
    "P2.4": {"encoder": {"position": "relative_bias"}},
    "P3.2": {"decoder": {"position": "rotary"}},
    "P5.1": {"decoder": {"position": "none"}},
    "N1.1": {"encoder": {"layer": "post_norm", "norm": None}},
    "N1.2": {"encoder": {"layer": "pre_norm", "norm": "layer_norm"}},
    "F1.1": dense("relu"),
    "F1.2": dense("swish"),
    "F1.3": dense("gelu"),
    "F1.4": {"decoder": {"layer": {"pre_norm": {"feed_forward": {"gated": {"activation": "swish"}}}}}},
    "F2.3": {"encoder": {"layer": {"cycle": {"blocks": ["pre_norm", {"pre_norm": {"feed_forward": "experts"}}]}}}},
}

REPEATS = {"R2.1": ("A7.3", "A7.4")}

SURVEY: dict[str, list[tuple[str, str, str]]] = {
    "attention.sparse": [
        ("A1.1", "Global attention", ""),
        ("A1.2", "Band attention", ""),
        ("A1.3", "Dilated attention", ""),
        ("A1.4", "Random attention", ""),
        ("A1.5", "Block local attention", ""),
        ("A1.6", "Star-Transformer", "1902.09113"),
        ("A1.7", "Longformer", "2004.05150"),
        ("A1.8", "ETC", "2004.08483"),
        ("A1.9", "BigBird", "2007.14062"),
        ("A1.10", "Sparse Transformer", "1904.10509"),
        ("A1.11", "GPT-3 layer pattern", "2005.14165"),
        ("A1.12", "BP-Transformer", "1911.04070"),
        ("A1.13", "Image Transformer", "1802.05751"),
        ("A1.14", "Axial Transformer", "1912.12180"),
        ("A2.1", "Routing Transformer", "2003.05997"),
        ("A2.2", "Reformer", "2001.04451"),
        ("A2.3", "SAC", "2003.09833"),
        ("A2.4", "Sparse Sinkhorn", "2002.11296"),
    ],
    "attention.linear": [
        ("A3.1", "Linear Transformer", "2006.16236"),
        ("A3.2", "Performer v1 (FAVOR)", "2006.03555"),
        ("A3.3", "Performer v2 (FAVOR+)", "2009.14794"),
        ("A3.4", "RFA", "2103.02143"),
        ("A3.5", "ReLU features (arc-cosine)", "2103.02143, 2009.14794"),
        ("A3.6", "DPFP", "2102.11174"),
        ("A3.7", "Sum aggregation", "2006.16236"),
        ("A3.8", "Gated aggregation (RFA-Gate)", "2103.02143"),
        ("A3.9", "Delta rule (fast weights)", "2102.11174"),
    ],
    "attention.prototype": [
        ("A4.1", "Clustered attention", "2007.04825"),
        ("A4.2", "Informer ProbSparse", "2012.07436"),
    ],
    "attention.memory": [
        ("A5.1", "Memory-compressed attention", "1801.10198"),
        ("A5.2", "Set Transformer (ISAB)", "1810.00825"),
        ("A5.3", "Luna", "2106.01540"),
        ("A5.4", "Linformer", "2006.04768"),
        ("A5.5", "Poolingformer", "2105.04371"),
    ],
    "attention.low_rank": [
        ("A6.1", "Low-rank and band", "TASLP 27(12)"),
        ("A6.2", "CSALR", "IJCAI 2020"),
        ("A6.3", "Nyströmformer", "2102.03902"),
    ],
    "attention.prior": [
        ("A7.1", "Local Transformer", "1810.10182"),
        ("A7.2", "Gaussian Transformer", "AAAI 2019"),
        ("A7.3", "Predictive Attention Transformer", "openreview YQVjbJPnPc9"),
        ("A7.4", "RealFormer", "2012.11747"),
        ("A7.5", "LazyFormer", "2102.12702"),
        ("A7.6", "CAMTL", "2009.09139"),
        ("A7.7", "Average attention", "1805.00631"),
        ("A7.8", "Hard-coded Gaussian", "2005.00742"),
        ("A7.9", "Random Synthesizer", "2005.00743"),
        ("A7.10", "Dense Synthesizer", "2005.00743"),
    ],
    "attention.heads": [
        ("A8.1", "Disagreement regularisation", "1810.10183"),
        ("A8.2", "Attention guidance", "2010.02399"),
        ("A8.3", "Talking heads", "2003.02436"),
        ("A8.4", "Collaborative heads", "2006.16362"),
        ("A8.5", "Adaptive attention span", "1905.07799"),
        ("A8.6", "Multi-Scale Transformer", "1912.00544"),
        ("A8.7", "Routing aggregation", "1904.03100, 1909.00188"),
        ("A8.8", "Multi-query attention", "1911.02150"),
        ("A8.9", "Decoupled head size", "2002.07028"),
    ],
    "position.absolute": [
        ("P1.1", "Sinusoidal positions", "1706.03762"),
        ("P1.2", "Learned positions", "1705.03122"),
        ("P1.3", "Learned-frequency sinusoids", "openreview onxoVA9FxMw"),
        ("P1.4", "FLOATER", "2003.09229"),
        ("P1.5", "Positions at every layer", ""),
    ],
    "position.relative": [
        ("P2.1", "Shaw relative positions", "1803.02155"),
        ("P2.2", "InDIGO", "1902.01370"),
        ("P2.3", "Music Transformer", "1809.04281"),
        ("P2.4", "T5 bias", "1910.10683"),
        ("P2.5", "Transformer-XL positions", "1901.02860"),
        ("P2.6", "DeBERTa", "2006.03654"),
    ],
    "position.hybrid": [
        ("P3.1", "TUPE", "2006.15595"),
        ("P3.2", "Rotary positions (RoPE)", "2104.09864"),
    ],
    "position.implicit": [
        ("P4.1", "Complex embedding", "1912.12333"),
        ("P4.2", "R-Transformer", "1907.05572"),
        ("P4.3", "Conditional positions (CPE)", "2102.10882"),
        ("P5.1", "No positions", ""),
    ],
    "norm.placement": [
        ("N1.1", "Post-norm", "1706.03762"),
        ("N1.2", "Pre-norm", "2002.04745"),
        ("N1.3", "Admin", "2004.08249"),
    ],
    "norm.substitute": [
        ("N2.1", "AdaNorm", "1911.07013"),
        ("N2.2", "ScaleNorm", "1910.05895"),
        ("N2.3", "PowerNorm", "2003.07845"),
    ],
    "norm.free": [("N3.1", "ReZero", "2003.04887")],
    "feedforward.activation": [
        ("F1.1", "ReLU feed-forward", "1706.03762"),
        ("F1.2", "Swish feed-forward", "1710.05941"),
        ("F1.3", "GELU feed-forward", "1606.08415"),
        ("F1.4", "Gated feed-forward (GLU variants)", "2002.05202"),
    ],
    "feedforward.capacity": [
        ("F2.1", "Product-key memory", "1907.05242"),
        ("F2.2", "GShard mixture of experts", "2006.16668"),
        ("F2.3", "Switch", "2101.03961"),
        ("F2.4", "Expert prototyping", "2105.15082"),
        ("F2.5", "Hash layers", "2106.04426"),
    ],
    "feedforward.dropped": [
        ("F3.1", "All-attention (persistent memory)", "1907.01470"),
        ("F3.2", "Decoder without feed-forward", "2010.02648"),
    ],
    "architecture.lightweight": [
        ("R1.1", "Lite Transformer", "2004.11886"),
        ("R1.2", "Funnel Transformer", "2006.03236"),
        ("R1.3", "DeLighT", "2008.00623"),
    ],
    "architecture.connectivity": [
        ("R2.1", "RealFormer and Predictive Attention as connections", "2012.11747, openreview YQVjbJPnPc9"),
        ("R2.2", "Transparent attention", "1808.07561"),
        ("R2.3", "Feedback Transformer", "2002.09402"),
    ],
    "architecture.adaptive": [
        ("R3.1", "Universal Transformer", "1807.03819"),
        ("R3.2", "Conditional Computation Transformer", "2002.07106"),
        ("R3.3", "DeeBERT", "2004.12993"),
        ("R3.4", "PABEE", "2006.04152"),
        ("R3.5", "Token-level early exit", "2105.13878"),
        ("R3.6", "Early exit by voting", "2105.13792"),
    ],
    "architecture.recurrence": [
        ("R4.1", "Transformer-XL", "1901.02860"),
        ("R4.2", "Compressive Transformer", "1911.05507"),
        ("R4.3", "Memformer", "2010.06891"),
        ("R4.4", "Recurrent memory state (Yoshida)", "2008.07027"),
        ("R4.5", "ERNIE-Doc", "2012.15688"),
    ],
    "architecture.hierarchy": [
        ("R5.1", "HAN", "1809.01576"),
        ("R5.2", "HIBERT", "1905.06566"),
        ("R5.3", "Hierarchical summarisation (Liu and Lapata)", "1905.13164"),
        ("R5.4", "Hi-Transformer", "2106.01040"),
        ("R5.5", "TENER", "1911.04474"),
        ("R5.6", "TNT", "2103.00112"),
    ],
    "architecture.alternative": [
        ("R6.1", "Macaron", "1906.02762"),
        ("R6.2", "Sandwich Transformer", "1911.03864"),
        ("R6.3", "Mask attention network (MAN)", "2103.13597"),
        ("R6.4", "Evolved Transformer", "1901.11117"),
        ("R6.5", "DARTSformer", "2105.14669"),
    ],
}

BEYOND = [  # the vanilla Transformer itself (survey 2), what it is compared with, and later standards
    Row(None, "Full attention", "attention.full", "1706.03762", mixer("multi_head", mechanism="full")),
    Row(None, "Grouped-query attention", "attention.heads", "2305.13245", {"decoder": {"n_heads": 4, "n_kv_heads": 2}}),
    Row(None, "Encoder-decoder", "architecture.use", "1706.03762", {"encoder_decoder": {}}),
    Row(None, "Encoder only", "architecture.use", "1810.04805", {"encoder": {"embedding": "tokens"}}),
    Row(None, "Hierarchical encoder", "architecture.hierarchy", "1910.10781", {"hierarchical": {}}),
    Row(None, "Decoder only", "architecture.use", "1801.10198", {"decoder": {}}),
    Row(
        None,
        "Generator and discriminator",
        "architecture.use",
        "2003.10555",
        {
            "generator_discriminator": {
                "generator": {"readout": "masked_language_model"},
                "discriminator": {"readout": "tagger"},
            }
        },
    ),
    Row(
        None,
        "Alternating layers",
        "architecture.layers",
        None,
        {"decoder": {"layer": {"cycle": {"blocks": ["pre_norm"]}}}},
    ),
    Row(
        None,
        "Layers named one by one",
        "architecture.layers",
        None,
        {"decoder": {"layer": {"each": {"blocks": ["pre_norm", "post_norm"]}}}},
    ),
    Row(None, "Recurrent mixer (Elman RNN)", "mixer", "Cognitive Science 14(2)", mixer("rnn")),
    Row(None, "Recurrent mixer (LSTM)", "mixer", "Neural Computation 9(8)", mixer("lstm")),
    Row(None, "Convolutional mixer", "mixer", "1705.03122", mixer("convolution")),
    Row(None, "Dilated convolutional mixer", "mixer", "1609.03499", mixer("convolution", dilation="double")),
    Row(None, "Fully connected mixer", "mixer", "2105.01601", mixer("fully_connected")),
    Row(None, "Hashed n-gram embedding", "embedding", "1607.04606, 2103.06874", {"encoder": {"embedding": "ngrams"}}),
    Row(
        None,
        "Sliding window with attention sinks",
        "attention.sparse",
        "2309.17453",
        heads({"sliding_window": {"window": 3, "sinks": 1}}, "decoder"),
    ),
    Row(None, "Performer, in one word", "attention.linear", "2009.14794", heads({"performer": {"features": 8}})),
    Row(None, "RFA with its gate", "attention.linear", "2103.02143", heads({"rfa": {"features": 8}}, "decoder")),
    Row(None, "Retention (RetNet)", "attention.linear", "2307.08621", heads("retention", "decoder")),
    Row(None, "Gated linear attention", "attention.linear", "2312.06635", heads("gated_linear", "decoder")),
    Row(None, "DeltaNet", "attention.linear", "2406.06484", heads("delta_net", "decoder")),
    Row(None, "Gated DeltaNet", "attention.linear", "2412.06464", heads("gated_delta_net", "decoder")),
    Row(None, "Linear biases (ALiBi)", "position.relative", "2108.12409", {"decoder": {"position": "alibi"}}),
    Row(None, "LayerNorm", "norm.substitute", "1607.06450", {"encoder": {"norm": "layer_norm"}}),
    Row(None, "RMSNorm", "norm.substitute", "1910.07467", {"encoder": {"norm": "rms_norm"}}),
    Row(None, "Language-model readout, tied", "readout", "1608.05859", {"decoder": {"readout": "language_model"}}),
    Row(None, "Classification readout", "readout", "1810.04805", {"encoder": {"readout": "classifier"}}),
    Row(None, "Tagging readout", "readout", None, {"encoder": {"readout": "tagger"}}),
    Row(None, "Masked-token readout", "readout", "1810.04805", {"encoder": {"readout": "masked_language_model"}}),
    Row(None, "BERT's pre-training readout", "readout", "1810.04805", {"encoder": {"readout": "pre_training"}}),
    Row(None, "Next-sentence readout", "readout", "1810.04805", {"encoder": {"readout": "next_sentence"}}),
    Row(None, "Pooled readout", "readout", "1810.04805", {"encoder": {"readout": "pooled"}}),
    Row(None, "Span readout", "readout", "1606.05250", {"encoder": {"readout": "spans"}}),
    Row(None, "Xavier initialisation", "init", "AISTATS 2010", {"encoder": {"init": "xavier"}}),
    Row(None, "GPT-2 initialisation", "init", "OpenAI 2019", {"decoder": {"init": "normal"}}),
]
