"""Each kind of error has its exit code; all are one family, so that the command line prints a sentence and no trace."""

from jorip.core import errors


def test_exit_codes():
    codes = {
        "ConfigError": 2,
        "SpecError": 2,
        "Refused": 2,
        "DataError": 3,
        "CheckpointError": 4,
        "NonFiniteError": 5,
        "ResourceError": 6,
        "Interrupted": 75,
    }
    for name, code in codes.items():
        kind = getattr(errors, name)
        assert kind("why").exit_code == code and issubclass(kind, errors.JoripError) and issubclass(kind, ValueError)
