"""Where special tokens go around one text or a pair: `[CLS] a [SEP] b [SEP]`, `<s> a </s></s> b </s>`, `a </s>` ...

A template belongs to a tokenizer, so that tasks do not know which special tokens a model was trained with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

A, B = -1, -2  # in place of an id: here comes the first text, the second


@dataclass(frozen=True)
class Template:
    """parts: (special token's id, or A, or B; segment id) in order. A is there once, B once or not at all, after A."""

    parts: tuple[tuple[int, int], ...] = ((A, 0),)

    def fill(self, a: Sequence[int], b: Sequence[int] = ()) -> tuple[list[int], list[int]]:
        """Token ids and segment ids, of equal length."""
        ids: list[int] = []
        segments: list[int] = []
        for what, segment in self.parts:
            new = a if what == A else b if what == B else (what,)
            ids += new
            segments += [segment] * len(new)
        return ids, segments

    @property
    def extra(self) -> int:
        """How many special tokens it adds."""
        return sum(what >= 0 for what, _ in self.parts)

    def starts(self, length: int) -> tuple[int, int]:
        """Where the first token of a lies, and of b when a has `length` tokens (without b: the end of a)."""
        kinds = [what for what, _ in self.parts]
        before = kinds.index(A)
        return before, before + length + ((kinds.index(B) - before - 1) if B in kinds else 0)


PLAIN = Template()


def read_template(segments: Iterable[int], sequences: Iterable[int | None], ids: Iterable[int]) -> Template:
    """From one encoded example: each token's segment, sequence (0, 1, or None for a special token) and id."""
    parts: list[tuple[int, int]] = []
    for segment, sequence, token in zip(segments, sequences, ids):
        part = (token if sequence is None else A - sequence, segment)
        if sequence is None or not parts or parts[-1] != part:
            parts.append(part)
    kinds = [what for what, _ in parts if what < 0]
    if kinds not in ([A], [A, B]):
        raise ValueError("the template does not hold each text once, in order")
    return Template(tuple(parts))
