"""Errors that a user can meet. Each says where, what, the value found and what to do; each kind has its exit code."""

from difflib import get_close_matches


class JoripError(ValueError):
    """Base of all errors that are the input's fault, not a bug. `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(JoripError):
    """A configuration, a spec or a combination of parts that cannot work."""

    exit_code = 2


class SpecError(ConfigError):
    """A spec with an unknown or wrong field."""


class Refused(ConfigError):
    """A part was asked, when the model was composed, for something that its mathematics does not allow."""


class DataError(JoripError):
    """A file, row, column or label that cannot be used."""

    exit_code = 3


class CheckpointError(JoripError):
    """A checkpoint that is damaged, unsafe, or does not belong to this model."""

    exit_code = 4


class NonFiniteError(JoripError):
    """Losses or gradients stopped being numbers."""

    exit_code = 5


class ResourceError(JoripError):
    """Out of memory or out of disk."""

    exit_code = 6


class Interrupted(JoripError):
    """Stopped by a signal, after everything was saved."""

    exit_code = 75


def did_you_mean(word: str, known, n: int = 1) -> str:
    """`; did you mean 'x'?` when something known is close, else the known names, else nothing."""
    known = [str(k) for k in known]
    if close := get_close_matches(str(word), known, n):
        return "; did you mean " + " or ".join(repr(c) for c in close) + "?"
    if 0 < len(known) <= 20:
        return "; known are " + ", ".join(sorted(known))
    return ""
