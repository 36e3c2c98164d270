"""SQuAD JSON (Rajpurkar et al. 2016, 1606.05250; also KorQuAD and KLUE-MRC): articles, paragraphs, questions, answers.

Each question is a row: context, question, `answers` (a list of texts; none for a question without an answer, as 2.0 has
them) and `starts` (the character of the context at which each begins, as text).
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from jorip.core.errors import DataError
from jorip.data.files import fault
from jorip.data.records import Record, Wanted
from jorip.data.source import Source


def read_squad(lines: Iterable[str], source: Source, wanted: Wanted, file: str) -> Iterator[Record]:
    """Records are numbered by question. An answer that is not at its place in the context is a bad row."""
    text = "".join(lines)
    try:
        tree = json.loads(text)
        articles = tree["data"]
        found = [(p, q) for a in articles for p in a["paragraphs"] for q in p["qas"]]
    except (ValueError, RecursionError) as e:
        raise DataError(f"{file}: not JSON: {fault(text, source.encoding) or e}") from None
    except (KeyError, TypeError) as e:
        raise DataError(
            f"{file}: not SQuAD's form, data > paragraphs > qas (no {e}): for one question a line use a .jsonl"
        ) from None
    for number, (paragraph, question) in enumerate(found, 1):
        yield _record(number, paragraph, question, wanted)


def _record(number: int, paragraph: Any, question: Any, wanted: Wanted) -> Record:
    try:
        context, asked = paragraph["context"], question["question"]
        answers = [] if question.get("is_impossible") else question.get("answers", [])
        texts, starts = [a["text"] for a in answers], [a["answer_start"] for a in answers]
    except (KeyError, TypeError, AttributeError) as e:
        return Record(number, None, f"a question without {e}", str(question)[:200])
    if not all(isinstance(t, str) for t in (context, asked, *texts)) or not all(isinstance(s, int) for s in starts):
        return Record(number, None, "context, question and answers are texts, answer_start a number", str(asked)[:200])
    for t, s in zip(texts, starts):
        if context[s : s + len(t)] != t:
            return Record(number, None, f"the answer {t!r} is not at character {s} of the context", asked)
    if why := fault(context) or fault(asked):
        return Record(number, None, why, asked)
    values = {"context": context, "question": asked, "answers": texts, "starts": [str(s) for s in starts]}
    return Record(number, {k: v for k, v in values.items() if k in wanted.all}, "", asked)
