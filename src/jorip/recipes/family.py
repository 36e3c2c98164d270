"""How a family of checkpoints is written: a table from the fields of its `config.json` to paths of our spec, and the
rules for its weights (`core/weights`), both read in both directions.

A family is one object in its recipe's file. Reading: every field of a config is taken by the table or is an error.
Writing: the config that the table writes must read back as the same spec, so that nothing is ever saved as almost the
same model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jorip.architectures.base import Architecture
from jorip.core.errors import CheckpointError, did_you_mean
from jorip.core.spec import Spec, diff
from jorip.core.weights import Rules
from jorip.parts.readout.base import Readout

_REQUIRED: Any = object()

# Fields that say nothing about what the model computes: housekeeping, special ids, labels and generation settings,
# which the exchange keeps beside the model where they are of use.
_HOUSEKEEPING = """
architectures model_type transformers_version torch_dtype dtype _name_or_path return_dict output_hidden_states
output_attentions output_past use_cache id2label label2id problem_type is_encoder_decoder is_decoder bos_token_id
eos_token_id pad_token_id sep_token_id cls_token_id mask_token_id unk_token_id decoder_start_token_id
forced_bos_token_id forced_eos_token_id suppress_tokens begin_suppress_tokens bad_words_ids task_specific_params
chunk_size_feed_forward gradient_checkpointing initializer_range initializer_factor init_std torchscript
tokenizer_class finetuning_task prefix max_length min_length do_sample early_stopping num_beams num_beam_groups
diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size
encoder_no_repeat_ngram_size num_return_sequences output_scores return_dict_in_generate remove_invalid_values
exponential_decay_length_penalty _num_labels num_labels language directionality pad_token
keys_to_ignore_at_inference _attn_implementation attn_implementation experts_implementation use_bfloat16
tf_legacy_loss
"""


class Config:
    """Their `config.json`, with a note of which fields were taken."""

    def __init__(self, values: Mapping[str, Any], where: str = "config.json"):
        self.values, self.where = values, where
        self.taken: set[str] = set(_HOUSEKEEPING.split())

    def take(self, name: str, default: Any = _REQUIRED) -> Any:
        """The value; `default` where the field is missing. Raises CheckpointError when it is missing and has none."""
        self.taken.add(name)
        if name in self.values:
            return self.values[name]
        if default is _REQUIRED:
            raise CheckpointError(f"{self.where}: the field {name!r} is missing{did_you_mean(name, self.values)}")
        return default

    @property
    def n_labels(self) -> int:
        """Of a classification head: as many as labels are named, 2 where none are."""
        names = self.values.get("id2label")
        return len(names) if isinstance(names, Mapping) else int(self.values.get("num_labels") or 2)

    def finish(self, known: Mapping[str, Any]) -> None:
        """Raises CheckpointError for fields that nothing took, with the closest field that is known."""
        left = sorted(set(self.values) - self.taken)
        if left:
            lines = [f"{n!r}: {self.values[n]!r}{did_you_mean(n, known)}" for n in left[:8]]
            raise CheckpointError(f"{self.where}: fields that this family does not know:\n  " + "\n  ".join(lines))


@dataclass(frozen=True)
class At:
    """A field that is written at these paths of our spec. default: what the family assumes where the field is missing;
    values: their value -> ours, where they differ."""

    paths: str
    default: Any = _REQUIRED
    values: Mapping[Any, Any] | None = None

    def read(self, name: str, config: Config) -> dict[str, Any]:
        value = config.take(name, self.default)
        if self.values is not None:
            if not isinstance(value, str | int | float | bool | None) or value not in self.values:
                known = ", ".join(map(repr, self.values))
                raise CheckpointError(f"{config.where}: {name}: {value!r} is not one of {known}")
            value = self.values[value]
        return dict.fromkeys(self.paths.split(), value)

    def write(self, spec: Spec) -> Any:
        value = get(spec, self.paths.split()[0])
        if self.values is None:
            return value
        found = [theirs for theirs, ours in self.values.items() if ours == value]
        return found[0] if found else value  # what cannot be written is found out when the config is read back


@dataclass(frozen=True)
class Only:
    """A field that must have one of these values, the first where it is missing: others mean a model that the recipe
    has not."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any):
        object.__setattr__(self, "values", values)

    def read(self, name: str, config: Config) -> dict[str, Any]:
        value = config.take(name, self.values[0])
        if value not in self.values:
            raise CheckpointError(f"{config.where}: {name}: {value!r} is not supported, {self.values[0]!r} is")
        return {}

    def write(self, spec: Spec) -> Any:
        return self.values[0]


@dataclass(frozen=True)
class Unused:
    """A field that is read and has no effect on what the model computes, not written unless a `value` is given."""

    value: Any = _REQUIRED

    def read(self, name: str, config: Config) -> dict[str, Any]:
        config.take(name, None)
        return {}

    def write(self, spec: Spec) -> Any:
        return self.value


Fields = Mapping[str, At | Only | Unused]
Head = Callable[[Config], Readout | None]


@dataclass(frozen=True)
class Family:
    """model_type: their name. base: a spec to start from. fields: the table. heads: their class -> our readout, the
    class without a head included. rules: spec -> table of weights. adjust: what no table can say, (spec, config) ->
    spec; describe: its inverse, (spec) -> fields, over those of the table. readout: the path of the readout. quirks:
    where transformers differs from the paper, and its folders are matched."""

    model_type: str
    base: Callable[[], Architecture]
    fields: Fields
    heads: Mapping[str, Head]
    rules: Callable[[Any], Rules]
    adjust: Callable[[Any, Config], Architecture] | None = None
    describe: Callable[[Any], dict[str, Any]] | None = None
    readout: str = "readout"
    quirks: tuple[str, ...] = field(default=())

    def read(self, config: Config, head: str) -> Architecture:
        """The spec of a config. Raises CheckpointError for fields and values that are not known."""
        if head not in self.heads:
            raise CheckpointError(
                f"{config.where}: {self.model_type} has no head {head!r}{did_you_mean(head, self.heads)}"
            )
        changes: dict[str, Any] = {}
        for name, rule in self.fields.items():
            changes |= rule.read(name, config)
        readout = self.heads[head](config)
        spec = self.base().override(changes | {self.readout: readout})
        spec = spec if self.adjust is None else self.adjust(spec, config)
        config.finish(self.fields)
        return spec

    def write(self, spec: Architecture, n_labels: int = 2) -> tuple[dict[str, Any], str]:
        """Their config and head for our spec. Raises CheckpointError when they have no such model, saying what
        differs."""
        fields = {name: rule.write(spec) for name, rule in self.fields.items()}
        fields = {name: value for name, value in fields.items() if value is not _REQUIRED}
        fields |= self.describe(spec) if self.describe is not None else {}
        fields["id2label"] = {str(i): f"LABEL_{i}" for i in range(n_labels)}
        closest = ""
        for head in self.heads:
            try:
                again = self.read(Config(fields, self.model_type), head)
            except CheckpointError as e:
                closest = closest or str(e)
                continue
            again = again.override({"init": spec.init})  # says how to begin, which a checkpoint need not
            if again == spec:
                return fields | {"model_type": self.model_type, "architectures": [head]}, head
            found = diff(again, spec)
            closest = found if not closest or len(found) < len(closest) else closest
        raise CheckpointError(f"this model is not a {self.model_type}:\n  " + "\n  ".join(closest.splitlines()[:8]))


def get(spec: Spec, path: str) -> Any:
    """The value at a path; layers that are not all alike answer for the first. None where there is no such path."""
    value: Any = spec
    for name in path.split("."):
        value = value.blocks[0] if hasattr(value, "blocks") else value
        if not hasattr(value, name):
            return None
        value = getattr(value, name)
    return value
