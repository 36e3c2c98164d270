"""What a user may set about training: the `training:` section of a recipe.

The batch itself is not here: global batches, counted in tokens, come from the task's plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jorip.core.errors import ConfigError, did_you_mean

# YAML 1.1 reads `1e-3` as text, so numbers may be given as text; everything else is strict.
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]
Every = Annotated[int, Field(ge=1)] | Literal["epoch"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class OptimizerConfig(_Section):
    """AdamW (Loshchilov and Hutter 2019). lr is the peak; beta2 0.98 as in Vaswani et al. 2017 suits short runs.
    layer_decay: each layer learns so many times as fast as the one above it, the embedding slowest (Howard and Ruder
    2018; 0.75 to 0.95 for fine-tuning); None: all alike."""

    lr: Number = Field(default=1e-3, gt=0)
    betas: Annotated[tuple[Number, Number], Field(strict=False)] = (0.9, 0.98)
    eps: Number = Field(default=1e-8, gt=0)
    weight_decay: Number = Field(default=0.01, ge=0)
    fused: bool = True
    layer_decay: Number | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _betas(self) -> OptimizerConfig:
        if not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"betas must lie in [0, 1), found {self.betas}: usual are (0.9, 0.98) or (0.9, 0.999)")
        return self


class ScheduleConfig(_Section):
    """How the learning rate moves: `warmup` steps up to the peak, then `kind` down to `min_ratio` of it at `total`.

    total: steps; None takes it from `steps` or `epochs`. constant and inverse_sqrt need no total.
    """

    kind: Literal["constant", "cosine", "inverse_sqrt", "linear"] = "cosine"
    warmup: int = Field(default=0, ge=0)
    min_ratio: Number = Field(default=0.0, ge=0, le=1)
    total: int | None = Field(default=None, ge=1)


class NonfiniteConfig(_Section):
    """skip: so many steps of a run may be left out because their loss or gradient is no number; the next stops it."""

    skip: int = Field(default=3, ge=0)


class TrainConfig(_Section):
    """How to train. The run ends at `steps`, `epochs` or `minutes`, whichever comes first.

    minutes         wall time of training and evaluation, added up over resumes
    clip            global gradient norm, None: no clipping
    precision       auto: bf16 autocast where it is measured to be 1.2 times as fast; fp32: none, the model's own type
    micro_tokens    at most so many tokens at once; None: the whole global batch. Changes memory, not results
    evaluate_every  steps, or once per epoch
    patience        stop after so many evaluations in a row without a new best; None: never
    save_every      steps, or once per epoch; a new best, the end and a signal save too, and so does
    save_minutes    so much time since the last save (when to save never changes results)
    keep            checkpoints kept, besides the best
    average         decay of the running average of the weights, 0: none. Evaluation and `model.safetensors` use it
    freeze          public paths of what is not trained: `embedding`, `layers.0`, `encoder`; all that lies below, too
    threads         None: as many as torch chooses; what was used is kept for resumes, because sums depend on it
    deterministic   torch's deterministic algorithms: exact resume with several threads needs them
    """

    seed: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    minutes: Number | None = Field(default=None, gt=0)
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    clip: Number | None = Field(default=1.0, gt=0)
    label_smoothing: Number = Field(default=0.0, ge=0, lt=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    micro_tokens: int | None = Field(default=None, ge=1)
    evaluate_every: Every = "epoch"
    patience: int | None = Field(default=None, ge=1)
    save_every: Every = "epoch"
    save_minutes: Number | None = Field(default=10.0, gt=0)
    keep: int = Field(default=2, ge=1)
    average: Number = Field(default=0.0, ge=0, lt=1)
    log_every: int = Field(default=50, ge=1)
    nonfinite: NonfiniteConfig = NonfiniteConfig()
    freeze: Annotated[tuple[str, ...], Field(strict=False)] = ()
    threads: int | None = Field(default=None, ge=1)
    deterministic: bool = True
    tensorboard: bool = False

    if not TYPE_CHECKING:  # so that editors still see the fields

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as e:
                raise ConfigError("\n".join(_explain(e, type(self)))) from None

    @model_validator(mode="after")
    def _ends(self) -> TrainConfig:
        if self.steps is None and self.epochs is None and self.minutes is None:
            raise ValueError("no end is set: give steps, epochs or minutes (whichever comes first ends the run)")
        s = self.schedule
        if s.kind in ("cosine", "linear") and s.total is None and self.steps is None and self.epochs is None:
            raise ValueError(
                f"schedule {s.kind!r} needs to know the number of steps, and only minutes is set (a schedule over wall "
                "time could not be resumed exactly): set steps, epochs or schedule.total, "
                "or take inverse_sqrt or constant"
            )
        return self

    def total_steps(self, steps_per_epoch: int) -> int | None:
        """Steps at which the run ends by count; None when only minutes end it."""
        ends = [self.steps, self.epochs and self.epochs * steps_per_epoch]
        return min((e for e in ends if e), default=None)


def _fields(model: type[BaseModel], path: tuple) -> list[str]:
    """Field names of the section that `path` lies in."""
    for name in path:
        inner = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)


def _explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per problem: where, what, the value found, what to do."""
    lines = {}
    for e in error.errors(include_url=False):
        path = tuple(
            p for p in e["loc"] if isinstance(p, str) and p not in ("int", "literal['epoch']", "constrained-int")
        )
        where = ".".join(("training", *path))
        if e["type"] == "extra_forbidden":
            text = f"unknown key {path[-1]!r}{did_you_mean(path[-1], _fields(model, path[:-1]))}"
            where = ".".join(("training", *path[:-1]))
        elif e["type"] == "value_error":
            text = e["msg"].removeprefix("Value error, ")
        else:
            text = f"{e['msg']}, found {e['input']!r}"
        lines.setdefault(where + text, f"{where}: {text}")
    return list(lines.values())


def train_config(data: Mapping[str, Any]) -> TrainConfig:
    """From a YAML section. ConfigError names every wrong key and value."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"training: must be a section of keys and values, found {data!r}")
    return TrainConfig(**data)
