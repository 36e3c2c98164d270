"""What classification and tagging share: their answers are labels."""

from __future__ import annotations

from typing import Any

from torch import nn

from jorip.tasks.base import Task


class Decide(Task):
    """Subclasses have the roles (what is read, its label or labels) and `predict`."""

    recipe = "encoder-small"
    metrics = {"loss": "min", "accuracy": "max", "macro_f1": "max"}

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        """The first validation examples with what the model says."""
        rows = self.val.rows[: self.config.evaluation.samples]
        model.eval()
        read, label = self.roles
        made = [
            {"source": plain(r[read]), "target": plain(r[label]), "prediction": plain(p["prediction"])}
            for r, p in zip(rows, self.predict(rows))
        ]
        model.train()
        return made


def plain(value: str | list[str | None]) -> str:
    return value if isinstance(value, str) else " ".join(v or "_" for v in value)
