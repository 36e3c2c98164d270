"""One YAML file is one run: what to learn (task), from what (data, tokenizer), with which model, how (training)."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jorip.core.errors import ConfigError, did_you_mean
from jorip.data.source import Source
from jorip.data.tokenizers import TokenizerSpec
from jorip.tasks.long import Strategy
from jorip.tasks.lora import LoraConfig
from jorip.training.config import TrainConfig, train_config

TaskName = Literal[
    "translate", "language_model", "classify", "tag", "masked_language_model", "replaced_tokens", "denoise",
    "span_corruption", "question_answering"
]  # fmt: skip
NOISY = ("masked_language_model", "replaced_tokens", "denoise", "span_corruption")  # tasks with an objective
LARGEST_YAML = 2**20  # bytes: `safe_load` expands aliases, so a small file must not become a large one


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataConfig(Section):
    """train, val, test: sources; test may be several by name. tokens: per global batch, all fed streams counted.
    examples: at most so many per batch. window: language models, tokens per training window. max_len: longer inputs are
    cut there, counted and reported. pair: classify two texts (roles text and text2). long: what classify reads of
    a text that is longer: its head, head_tail (a quarter and the end), or all of it in windows, pooled or
    read by a second stack (hierarchical). stride: how many tokens
    further each window begins (also of the contexts of question answering); None: half of what fits."""

    train: Source
    val: Source
    test: dict[str, Source] = {}
    tokens: int = Field(default=4096, ge=1)
    examples: int | None = Field(default=None, ge=1)
    window: int = Field(default=256, ge=2)
    max_len: int | None = Field(default=None, ge=2)
    pair: bool = False
    stride: int | None = Field(default=None, ge=1)
    long: Strategy = "head"

    @field_validator("test", mode="before")
    @classmethod
    def _one_or_many(cls, value):
        one = isinstance(value, str | Source) or (isinstance(value, dict) and set(value) & set(Source.model_fields))
        return {"test": value} if one else value


class ModelConfig(Section):
    """recipe: a named model; override: fields by path (`encoder.n_layers: 2`, `**.dropout: 0.3`); spec: a
    whole architecture instead of a recipe; start_from: a run, a saved folder or a Hugging Face folder, whose model,
    weights and tokenizer are taken instead; lora: train small updates of some of its maps only. Vocabulary and classes
    are filled in from the data."""

    recipe: str | None = None
    override: dict[str, Any] = {}
    spec: dict[str, Any] | None = None
    start_from: str | None = None
    lora: LoraConfig | None = None

    @model_validator(mode="after")
    def _one(self):
        given = [n for n in ("recipe", "spec", "start_from") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of recipe, spec and start_from, found {' and '.join(given)}")
        if self.lora is not None and self.start_from is None:
            raise ValueError("lora adapts a trained model: it needs start_from")
        return self


class EvaluationConfig(Section):
    """metric: picks the best checkpoint (loss, accuracy, macro_f1, exact_match, bleu). generate: how many validation
    examples are translated at each evaluation, 0 = none. beams, length_penalty, max_new_tokens: of every generation.
    samples: how many examples the report shows."""

    metric: str = "loss"
    generate: int = Field(default=0, ge=0)
    beams: int = Field(default=1, ge=1)
    length_penalty: float = 1.0
    max_new_tokens: int = Field(default=128, ge=1)
    samples: int = Field(default=4, ge=0)


class RunConfig(Section):
    """The whole run. objective: fields of a pre-training task's noise. `base` is the YAML file's folder, which relative
    paths start from."""

    task: TaskName
    objective: dict[str, Any] = {}
    data: DataConfig
    tokenizer: TokenizerSpec = TokenizerSpec()
    model: ModelConfig
    training: TrainConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    base: str = "."

    @model_validator(mode="after")
    def _noise(self):
        if self.objective and self.task not in NOISY:
            raise ValueError(f"objective: a {self.task} run has none; {', '.join(NOISY)} have")
        return self

    @field_validator("training", mode="before")
    @classmethod
    def _training(cls, value):
        return value if isinstance(value, TrainConfig) else train_config(value)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, except that 1e-3 is a number and on/off/yes/no are words."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in rules if tag not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"}]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf|\.nan)$"),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|false|False)$"), list("tTfF"))


def read_yaml(text: str, where: str) -> Any:
    """Plain data. Raises ConfigError with the line of a mistake; aliases are refused."""
    if len(text.encode()) > LARGEST_YAML:
        raise ConfigError(f"{where}: larger than {LARGEST_YAML} bytes: this is no configuration")
    try:
        if any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, Loader=_Loader)):
            raise ConfigError(f"{where}: anchors and aliases (&, *) are not allowed: write the values out")
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as e:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(e).split())}") from None


def shipped() -> dict[str, str]:
    """Runs that come with jorip: name -> its first comment line."""
    folder = resources.files("jorip.recipes")
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".yaml"))
    texts = {n: (folder / n).read_text(encoding="utf-8") for n in names}
    return {n.removesuffix(".yaml"): t.split("\n", 1)[0].lstrip("# ") for n, t in texts.items()}


def load_config(path_or_name: str, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig:
    """A YAML file, or the name of a shipped one, with `a.b=c` overrides (values are YAML).

    Raises ConfigError: no such file or recipe (did you mean), unknown keys, wrong values.
    """
    path = Path(path_or_name)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        try:
            text, base = path.read_text(encoding="utf-8"), path.parent
        except OSError as e:
            raise ConfigError(f"{path}: cannot be read ({e.strerror}): give a YAML file or one of {known()}") from None
        except UnicodeDecodeError as e:
            raise ConfigError(f"{path}: is not UTF-8 (byte {e.start}): save it as UTF-8") from None
    else:
        if path_or_name not in shipped():
            raise ConfigError(
                f"there is no recipe or file called {path_or_name!r}{did_you_mean(path_or_name, shipped())}"
            )
        text = (resources.files("jorip.recipes") / f"{path_or_name}.yaml").read_text(encoding="utf-8")
        base = Path(".")
    tree = read_yaml(text, str(path_or_name))
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path_or_name}: a run is written as sections of keys and values, found {type(tree).__name__}"
        )
    for item in overrides:
        set_by_path(tree, item)
    return run_config({"base": str(base)} | tree, str(path_or_name))


def known() -> str:
    return ", ".join(shipped())


def set_by_path(tree: dict, item: str) -> None:
    """`a.b=c` into nested mappings; values are YAML. Raises ConfigError when it is not of that form."""
    key, eq, value = item.partition("=")
    if not eq or not key:
        raise ConfigError(f"an override is written key.key=value, found {item!r}")
    if key.startswith("model.override."):  # its own keys are paths with dots
        parts = ["model", "override", key.removeprefix("model.override.")]
    else:
        parts = key.split(".")
    for part in parts[:-1]:
        if tree.get(part) is None:
            tree[part] = {}
        if not isinstance(tree[part], dict):
            raise ConfigError(f"{item}: {part!r} is {tree[part]!r}, not a section")
        tree = tree[part]
    tree[parts[-1]] = read_yaml(value, item)


def run_config(tree: dict[str, Any], where: str) -> RunConfig:
    """Validated. Raises ConfigError naming every wrong key and value."""
    try:
        return RunConfig(**tree)
    except ValidationError as e:
        raise ConfigError("\n".join(f"{where}: {line}" for line in _explain(e))) from None


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for e in error.errors(include_url=False):
        path = [str(p) for p in e["loc"]]
        if e["type"] == "extra_forbidden":
            model: Any = RunConfig
            for name in path[:-1]:
                field = model.model_fields.get(name) if hasattr(model, "model_fields") else None
                model = field.annotation if field else None
            names = getattr(model, "model_fields", {})
            lines.append(f"unknown key {'.'.join(path)!r}{did_you_mean(path[-1], names)}")
        elif e["type"] == "missing":
            lines.append(f"the key {'.'.join(path)!r} is missing")
        elif e["type"] == "value_error":
            why, where = e["msg"].removeprefix("Value error, "), ".".join(path)
            lines.append(why if why.startswith(f"{where}:") else f"{where}: {why}")
        elif e["type"] == "literal_error":
            expected = re.findall(r"'([^']*)'", e["msg"])
            lines.append(
                f"{'.'.join(path)}: {e['input']!r} is not one of {', '.join(expected)}"
                f"{did_you_mean(e['input'], expected) if len(expected) > 20 else ''}"
            )
        else:
            lines.append(f"{'.'.join(path)}: {e['msg'][0].lower()}{e['msg'][1:]}, found {e['input']!r}")
    return lines


def to_yaml(config: RunConfig) -> str:
    """The resolved configuration, every key written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def model_spec(config: ModelConfig, default: str):
    """The architecture that a `model:` section names, before vocabulary and classes are filled in."""
    from jorip.architectures.base import from_dict
    from jorip.recipes import recipe

    spec = from_dict(config.spec) if config.spec is not None else recipe(config.recipe or default)
    return spec.override(config.override)
