import sys

import pytest

from jorip.core.errors import ConfigError
from jorip.training import TrainConfig, train
from tests.training.toy import ToyTask


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scalars_are_written(tmp_path):
    train(ToyTask(), TrainConfig(steps=4, log_every=2, tensorboard=True), tmp_path / "run")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "run/tensorboard"))
    board.Reload()
    assert {"train/loss", "train/lr", "validation/loss"} <= set(board.Tags()["scalars"])
    assert [e.step for e in board.Scalars("train/loss")] == [2, 4]


def test_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        ConfigError, match=r"the package tensorboard is not installed: pip install 'jorip\[tensorboard\]'"
    ):
        train(ToyTask(), TrainConfig(steps=1, tensorboard=True), tmp_path / "run")
