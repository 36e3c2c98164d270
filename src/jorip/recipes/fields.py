"""The fields of a checkpoint's `config.json`: what each is to our spec, in both directions, and an account of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jorip.core.errors import CheckpointError, did_you_mean
from jorip.core.spec import Spec

REQUIRED: Any = object()

# Fields that say nothing about what the model computes: housekeeping, special ids, labels and generation settings,
# which the exchange keeps beside the model and writes back.
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
HOUSEKEEPING = frozenset(_HOUSEKEEPING.split())


# What a default is -> what a value may be; older configs write 0 and 1 for yes and no.
_KINDS: dict[type, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool, int)), int: ("a number", (int, float)), float: ("a number", (int, float)),
}  # fmt: skip


class Config:
    """Their `config.json`, with a note of which fields were taken."""

    def __init__(self, values: Mapping[str, Any], where: str = "config.json"):
        self.values, self.where = values, where
        self.taken: set[str] = set(HOUSEKEEPING)
        self.keys: frozenset[str] = frozenset()  # of the weights, where they are there
        self.assumed: dict[str, Any] = {}  # fields that are missing -> what was taken instead

    def take(self, name: str, default: Any = REQUIRED) -> Any:
        """The value; `default` where the field is missing. Raises CheckpointError when it is missing and has none, and
        for a value of another kind than the default: text for a number, a list for yes or no."""
        self.taken.add(name)
        if name in self.values:
            value = self.values[name]
            kind = next((k for k in _KINDS if isinstance(default, k)), None)
            if kind is not None and value is not None and not isinstance(value, _KINDS[kind][1]):
                raise CheckpointError(f"{self.where}: {name}: {short(value)} is not {_KINDS[kind][0]}")
            return value
        if default is REQUIRED:
            raise CheckpointError(f"{self.where}: the field {name!r} is missing{did_you_mean(name, self.values)}")
        self.assumed[name] = default
        return default

    @property
    def n_labels(self) -> int:
        """Of a classification head: as many as labels are named, 2 where none are."""
        names = self.values.get("id2label")
        if isinstance(names, Mapping):
            if set(names) != {str(i) for i in range(len(names))}:
                raise CheckpointError(f"{self.where}: id2label must name 0 to {len(names) - 1}, found {short(names)}")
            return len(names)
        n = self.values.get("num_labels")
        if names is not None or not (n is None or type(n) is int):
            found = f"id2label {short(names)}" if names is not None else f"num_labels {short(n)}"
            raise CheckpointError(
                f"{self.where}: id2label maps numbers to labels, num_labels counts them; found {found}"
            )
        return n or 2

    def finish(self, known: Mapping[str, Any]) -> None:
        """Raises CheckpointError for fields that nothing took, with the closest field that is known."""
        left = sorted(set(self.values) - self.taken)
        if left:
            names = [*known, *self.taken]
            lines = [f"{n!r}: {short(self.values[n])}{did_you_mean(n, names)}" for n in left[:8]]
            lines += [f"and {len(left) - 8} more"] if len(left) > 8 else []
            raise CheckpointError(f"{self.where}: fields that this family does not know:\n  " + "\n  ".join(lines))


@dataclass(frozen=True)
class At:
    """A field that is written at these paths of our spec. default: what the family assumes where the field is missing;
    values: their value -> ours, where they differ."""

    paths: str
    default: Any = REQUIRED
    values: Mapping[Any, Any] | None = None

    def read(self, name: str, config: Config) -> dict[str, Any]:
        value = config.take(name, self.default)
        if self.values is not None:
            if not isinstance(value, str | int | float | bool | None) or value not in self.values:
                known = ", ".join(map(repr, self.values))
                raise CheckpointError(f"{config.where}: {name}: {short(value)} is not one of {known}")
            value = self.values[value]
        return dict.fromkeys(self.paths.split(), value)

    def write(self, spec: Spec) -> Any:
        value = get(spec, self.paths.split()[0], REQUIRED)  # no such path: not written, so its default is compared
        if self.values is None or value is REQUIRED:
            return value
        found = [theirs for theirs, ours in self.values.items() if ours == value]
        return found[0] if found else value  # what cannot be written is found out when the config is read back

    @property
    def became(self) -> str:
        return "-> " + ", ".join(self.paths.split())


@dataclass(frozen=True)
class Only:
    """A field that must have one of these values, the first where it is missing: others mean a model that the recipe
    has not."""

    values: tuple[Any, ...]
    became = "as it must be"

    def __init__(self, *values: Any):
        object.__setattr__(self, "values", values)

    def read(self, name: str, config: Config) -> dict[str, Any]:
        value = config.take(name, self.values[0])
        if value not in self.values:
            known = " or ".join(map(repr, self.values))
            verb = "is" if len(self.values) == 1 else "are"
            raise CheckpointError(f"{config.where}: {name}: {short(value)} is not supported, {known} {verb}")
        return {}

    def write(self, spec: Spec) -> Any:
        return self.values[0]


@dataclass(frozen=True)
class Unused:
    """A field that is read and has no effect on what the model computes, not written unless a `value` is given."""

    value: Any = REQUIRED
    became = "no effect on what is computed"

    def read(self, name: str, config: Config) -> dict[str, Any]:
        config.take(name, None)
        config.assumed.pop(name, None)
        return {}

    def write(self, spec: Spec) -> Any:
        return self.value


Fields = Mapping[str, At | Only | Unused]


def get(spec: Spec, path: str, missing: Any = None) -> Any:
    """The value at a path; layers that are not all alike answer for the first. `missing`: there is no such path."""
    value: Any = spec
    for name in path.split("."):
        value = value.blocks[0] if hasattr(value, "blocks") else value
        if not hasattr(value, name):
            return missing
        value = getattr(value, name)
    return value


def short(value: Any, n: int = 60) -> str:
    """A value as one piece of a line."""
    text = repr(value) if not isinstance(value, list | Mapping) or len(value) < 1000 else f"{len(value)} values"
    return text if len(text) <= n else text[: n - 4] + " ..."
