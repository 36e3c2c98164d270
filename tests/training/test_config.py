import pytest

from jorip.core.errors import ConfigError
from jorip.training import TrainConfig, train_config


def test_defaults_and_values():
    c = train_config({"steps": 10, "optimizer": {"lr": "1e-4", "betas": [0.9, 0.999]}, "evaluate_every": 5})
    assert c.optimizer.lr == 1e-4  # YAML 1.1 reads 1e-4 as text
    assert c.optimizer.betas == (0.9, 0.999)
    assert c.evaluate_every == 5 and c.save_every == "epoch"
    assert TrainConfig(**c.model_dump(mode="json")) == c


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "training: no end is set: give steps, epochs or minutes"),
        ({"step": 5}, r"training: unknown key 'step'; did you mean 'steps'\?"),
        ({"steps": 5, "optimizer": {"lrr": 1}}, r"training\.optimizer: unknown key 'lrr'; did you mean 'lr'\?"),
        ({"steps": 0}, r"training\.steps: .*greater than or equal to 1, found 0"),
        ({"steps": "many"}, r"training\.steps: .*valid integer, found 'many'"),
        ({"steps": 5, "optimizer": {"lr": -1}}, r"training\.optimizer\.lr: .*greater than 0, found -1"),
        ({"steps": 5, "optimizer": {"lr": float("nan")}}, r"training\.optimizer\.lr: .*finite number, found nan"),
        ({"steps": 5, "optimizer": {"betas": [0.9, 1.0]}}, r"training\.optimizer: betas must lie in \[0, 1\), found"),
        ({"steps": 5, "schedule": {"kind": "cosin"}}, r"training\.schedule\.kind: .*'cosine'.*found 'cosin'"),
        ({"steps": 5, "evaluate_every": "day"}, r"training\.evaluate_every: .*found 'day'"),
        ({"steps": 5, "precision": "fp16"}, r"training\.precision: Input should be 'auto', 'fp32' or 'bf16', found"),
        ({"minutes": 5}, "schedule 'cosine' needs to know the number of steps, and only minutes is set"),
        ({"minutes": 5, "schedule": {"kind": "linear"}}, "set steps, epochs or schedule.total, or take inverse_sqrt"),
    ],
)
def test_wrong_values_are_named(data, text):
    with pytest.raises(ConfigError, match=text):
        train_config(data)


def test_several_problems_are_told_at_once():
    with pytest.raises(ConfigError) as e:
        train_config({"steps": 0, "clip": -1, "kep": 2})
    assert len(str(e.value).splitlines()) == 3


def test_not_a_section():
    with pytest.raises(ConfigError, match="training: must be a section of keys and values, found 'fast'"):
        train_config("fast")


def test_minutes_with_a_schedule_that_needs_no_end():
    assert train_config({"minutes": 5, "schedule": {"kind": "inverse_sqrt", "warmup": 10}}).minutes == 5
    assert train_config({"minutes": 5, "schedule": {"total": 100}}).total_steps(10) is None


def test_total_steps_is_what_comes_first():
    assert TrainConfig(steps=10, epochs=3).total_steps(4) == 10
    assert TrainConfig(steps=10, epochs=2).total_steps(4) == 8
