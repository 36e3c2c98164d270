"""Label names as numbers, and the scores of decisions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from jorip.core.errors import DataError, did_you_mean


def label_names(labels: Iterable[str], where: str) -> list[str]:
    """Sorted distinct labels. Raises DataError when there is only one: nothing could be learned."""
    names = sorted(set(labels))
    if len(names) < 2:
        raise DataError(f"{where}: only one label ({names[0]!r}) is in the training data: at least two are needed")
    return names


def label_ids(labels: Iterable[str], names: list[str], rows: list[dict[str, Any]], where: str) -> list[int]:
    """Raises DataError listing labels unseen in training, with the row of the first."""
    index = {n: i for i, n in enumerate(names)}
    labels = list(labels)
    if unseen := sorted({v for v in labels if v not in index}):
        row = rows[next(i for i, v in enumerate(labels) if v not in index)]["row"] if len(rows) == len(labels) else "?"
        raise DataError(
            f"{where}: {len(unseen)} label(s) never seen in training: {', '.join(map(repr, unseen[:5]))} "
            f"(first in row {row}){did_you_mean(unseen[0], names)}"
        )
    return [index[v] for v in labels]


def decision_scores(predicted: Tensor, wanted: Tensor, n_classes: int) -> dict[str, float]:
    """accuracy and macro F1 (mean over classes that occur), by torchmetrics."""
    from torchmetrics.functional.classification import multiclass_f1_score

    f1 = multiclass_f1_score(predicted, wanted, num_classes=n_classes, average=None)
    occurs = torch.bincount(wanted, minlength=n_classes) > 0
    return {"accuracy": float((predicted == wanted).double().mean()), "macro_f1": float(f1[occurs].mean())}
