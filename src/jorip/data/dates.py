"""Dates as people write them, in 30 languages, to Korean and to ISO 8601: a translation task that every machine has.

    ko: Montag, 23. November 2026   ->  2026년 11월 23일
    iso: 23 novembre 2026           ->  2026-11-23
    iso en-US: 11/23/2026           ->  2026-11-23

Written by babel from the Unicode CLDR. The tag says what is wanted; where the month is a number and the year is not
first, the locale's code follows, since 3/4/2026 alone has two readings. Years are 1900 to 2099 (Gregorian), in full.

Held out, so that a score means something: dates (a hash of the date decides between train, val and test, whatever the
seed) and formats (locale and pattern pairs that training never sees: split `test_formats`, on test dates only). A
format is held out only when its words (month and weekday names) or its order of numbers occur in another format of the
same locale that stays in training: the arrangement is new, not the vocabulary.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from functools import cache, lru_cache
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field

from jorip.core.errors import ConfigError
from jorip.core.random import mix_ints, salt

LOCALES = (
    *("en_US", "en_GB", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "nb", "fi", "pl", "cs", "ru", "uk", "bg"),
    *("el", "tr", "hu", "ro", "ja", "zh", "ko", "vi", "id", "hi", "th", "ar", "he"),
)
TARGETS = ("ko", "iso")
_SKELETONS = ("yMMMMEEEEd", "yMMMMd", "yMMMEd", "yMMMd", "yMEd", "yMd")
_FIRST, _LAST = date(1900, 1, 1), date(2099, 12, 31)


class DatesOptions(BaseModel, frozen=True, extra="forbid", strict=True):
    """seed: which pairs are drawn; train, val, test: how many (test is also the size of test_formats)."""

    seed: Annotated[int, Field(ge=0)] = 0
    train: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    val: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    test: Annotated[int, Field(ge=1, le=100_000)] = 1_000


class Format(NamedTuple):
    """One way to write a date. `shape` is the pattern without widths of numbers: d.M.y and dd.MM.y are one shape."""

    locale: str
    pattern: str
    shape: str

    @property
    def fields(self) -> frozenset[str]:
        """What must have been seen in training: the names used, and for numeric months the order of the numbers."""
        runs = _runs(self.shape)
        names = {r for r in runs if len(r) >= 3 or r == "E"}
        return frozenset(names if self.named else {*names, "".join(r for r in runs if r in {"d", "M", "y"})})

    @property
    def named(self) -> bool:
        return any(r in {"MMM", "MMMM"} for r in _runs(self.shape))

    @property
    def needs_locale(self) -> bool:
        return not self.named and _runs(self.shape).index("y") != 0


def _runs(pattern: str) -> list[str]:
    """`E, d MMM y` -> E d MMM y. Quoted text is skipped."""
    found, quoted = [], False
    for i, c in enumerate(pattern):
        quoted ^= c == "'"
        if not quoted and c.isascii() and c.isalpha():
            if found and i and pattern[i - 1] == c:
                found[-1] += c
            else:
                found.append(c)
    return found


def _tidy(pattern: str) -> str:
    """Four-digit years; spaces as on a keyboard; no direction marks."""
    pattern = pattern.replace("yy", "y") if "yyy" not in pattern else pattern
    for thin in "\u00a0\u202f\u2009":
        pattern = pattern.replace(thin, " ")
    return pattern.replace("\u200f", "").replace("\u200e", "")


def _shape(pattern: str) -> str:
    for wide, narrow in (("dd", "d"), ("LLLL", "MMMM"), ("LLL", "MMM"), ("cccc", "EEEE"), ("ccc", "E"), ("EEE", "E")):
        pattern = pattern.replace(wide, narrow) if wide != "EEE" or "EEEE" not in pattern else pattern
    return pattern if "MMM" in pattern else pattern.replace("MM", "M")


@lru_cache(maxsize=1)
def formats() -> tuple[tuple[Format, ...], tuple[Format, ...]]:
    """(seen, held out): all (locale, pattern) pairs in the order of CLDR; one shape a locale is held out."""
    from babel import Locale

    seen, held = [], []
    for name in LOCALES:
        locale = Locale.parse(name)
        patterns = [str(p.pattern) for p in (locale.date_formats[k] for k in ("full", "long", "medium", "short"))]
        patterns += [str(locale.datetime_skeletons[k].pattern) for k in _SKELETONS if k in locale.datetime_skeletons]
        patterns = dict.fromkeys(_tidy(p) for p in patterns if "G" not in p)
        mine = [Format(name, p, _shape(p)) for p in patterns]
        shapes = sorted({f.shape for f in mine}, key=lambda s: mix_ints(salt(name), salt(s)))
        for shape in shapes:
            out = [f for f in mine if f.shape == shape]
            rest = frozenset().union(*(f.fields for f in mine if f.shape != shape))
            if len(shapes) > 3 and all(f.fields <= rest for f in out):
                held += out
                mine = [f for f in mine if f.shape != shape]
                break
        seen += mine
    return tuple(seen), tuple(held)


def code(locale: str) -> str:
    """en_US -> en-US, as in a source text."""
    return locale.replace("_", "-")


def write(day: date, form: Format, target: str) -> tuple[str, str]:
    """(source, target) texts."""
    text = _writer(form.locale, form.pattern)(day)
    tag = f"{target} {code(form.locale)}" if form.needs_locale else target
    return f"{tag}: {text}", day.isoformat() if target == "iso" else f"{day.year}년 {day.month}월 {day.day}일"


@cache
def _writer(locale: str, pattern: str):
    """A function from a date to text; the pattern is parsed and the names are fetched once."""
    from babel import Locale
    from babel.dates import parse_pattern

    return _Writer(parse_pattern(pattern), Locale.parse(locale))


class _Writer:
    def __init__(self, pattern, locale) -> None:
        self.format: str = pattern.format  # "%(EEEE)s, %(d)s. %(MMMM)s %(y)s"
        self.fields = _runs_of(self.format)
        self.pattern, self.locale, self.names = pattern, locale, {}

    def __call__(self, day: date) -> str:
        from babel.dates import DateTimeFormat

        values = {}
        for field in self.fields:
            # the text of a field depends only on this part of the date
            part = {"y": day.year, "d": day.day, "E": day.weekday(), "c": day.weekday()}.get(field[0], day.month)
            if (field, part) not in self.names:
                self.names[field, part] = DateTimeFormat(day, self.locale)[field]
            values[field] = self.names[field, part]
        return self.format % values


def _runs_of(form: str) -> list[str]:
    return [piece.split(")s")[0] for piece in form.split("%(")[1:]]


def split_of(day: date) -> str:
    """80 % of the days are train, 10 % val, 10 % test, by a hash of the date alone."""
    bucket = mix_ints(day.toordinal(), 0x0DA7E) % 10
    return "train" if bucket < 8 else "val" if bucket == 8 else "test"


@lru_cache(maxsize=1)
def days() -> dict[str, list[date]]:
    """All days of the two centuries, by split."""
    found: dict[str, list[date]] = {"train": [], "val": [], "test": []}
    for n in range((_LAST - _FIRST).days + 1):
        day = _FIRST + timedelta(n)
        found[split_of(day)].append(day)
    return found


@lru_cache(maxsize=4)
def generate(options: DatesOptions) -> dict[str, list[dict[str, str]]]:
    """{train, val, test, test_formats: [{source, target, locale, format}]}, each source once.

    Languages are drawn equally often, then the formats of a language; ConfigError when so many do not exist.
    """
    seen, held = formats()
    return {
        split: list(_draw(options.seed, number, size, days()[split.split("_")[0]], forms, split))
        for number, (split, size, forms) in enumerate(
            (
                ("train", options.train, seen),
                ("val", options.val, seen),
                ("test", options.test, seen),
                ("test_formats", options.test, held),
            )
        )
    }


def _draw(seed: int, number: int, size: int, pool: list[date], forms: Iterable[Format], split: str):
    by_locale: dict[str, list[Format]] = {}
    for form in forms:
        by_locale.setdefault(form.locale, []).append(form)
    locales = list(by_locale)
    used: set[str] = set()
    for i in range(20 * size):
        if len(used) == size:
            return
        base = (seed, number, i)
        mine = by_locale[locales[mix_ints(*base, 1) % len(locales)]]
        form = mine[mix_ints(*base, 2) % len(mine)]
        day = pool[mix_ints(*base, 3) % len(pool)]
        source, target = write(day, form, TARGETS[mix_ints(*base, 4) % 2])
        if source not in used:
            used.add(source)
            yield {"source": source, "target": target, "locale": form.locale, "format": form.pattern}
    if len(used) < size:
        raise ConfigError(f"builtin dates: {split}: {size} different dates cannot be drawn; ask for fewer")
