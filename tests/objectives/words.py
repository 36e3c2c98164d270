"""Examples in words, as the papers print them."""

from jorip.objectives import Vocabulary


class Words:
    """Ids for the words of one example; `_` is the mask, <X> <Y> <Z> are sentinels."""

    def __init__(self, text: str, *more: str) -> None:
        self.names = list(dict.fromkeys(["_", *text.split(), *more]))
        self.vocabulary = Vocabulary(
            size=len(self.names),
            stops=frozenset(self.ids(".")) if "." in self.names else frozenset(),
            sentinels=tuple(self.names.index(m) for m in more),
        )

    def ids(self, text: str) -> list[int]:
        return [self.names.index(w) for w in text.split()]

    def text(self, ids) -> str:
        return " ".join(self.names[i] for i in ids)
