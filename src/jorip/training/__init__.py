"""The training engine: `train(task, config, run_dir)`. It knows tasks only by the protocol in `protocol.py`.

Names are loaded when they are first used: reading a configuration does not import torch.
"""

from importlib import import_module

_WHERE = {
    "Result": "loop",
    "TrainConfig": "config",
    "best_checkpoint": "checkpoint",
    "load_weights": "tensors",
    "read_events": "events",
    "read_tensors": "tensors",
    "train": "start",
    "train_config": "config",
    "verify": "checkpoint",
}


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module 'jorip.training' has no attribute {name!r}")
    value = getattr(import_module(f"jorip.training.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_WHERE)
