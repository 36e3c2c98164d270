"""Names of tasks, resolved only when they are asked for."""

from __future__ import annotations

from importlib import import_module

from jorip.tasks.base import Task

TASKS = {
    "translate": ("translate", "Translate"),
    "language_model": ("language_model", "LanguageModel"),
    "classify": ("classify", "Classify"),
    "tag": ("tag", "Tag"),
    "question_answering": ("question_answering", "QuestionAnswering"),
    "masked_language_model": ("masked_language_model", "MaskedLanguageModel"),
    "replaced_tokens": ("replaced_tokens", "ReplacedTokens"),
    "denoise": ("denoise", "Denoise"),
    "span_corruption": ("span_corruption", "SpanCorruption"),
}


def task_class(name: str) -> type[Task]:
    module, cls = TASKS[name]
    return getattr(import_module(f"jorip.tasks.{module}"), cls)
