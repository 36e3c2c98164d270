"""Which folder a command means."""

from pathlib import Path

from jorip.core.errors import ConfigError, did_you_mean

RUNS = Path("runs")


def run_folder(config: str, name: str | None, out: Path | None) -> Path:
    """Where to train: --out, runs/--run, or runs/ and the configuration's own name.

    ConfigError: both were given, or a name that is a path.
    """
    if name is not None and out is not None:
        raise ConfigError("--run NAME and --out DIR say the same thing twice: give one of them")
    if out is not None:
        return out
    name = Path(config).name.removesuffix(".yaml").removesuffix(".yml") if name is None else name
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ConfigError(f"--run takes a name, found {name!r}: use --out for a folder elsewhere")
    return RUNS / name


def find_run(text: str) -> Path:
    """An existing folder: the path itself, or the name of a run under runs/.

    ConfigError when there is neither, with the closest run.
    """
    for folder in (Path(text), RUNS / text):
        if folder.is_dir():
            return folder
    known = sorted(p.name for p in RUNS.iterdir() if p.is_dir()) if RUNS.is_dir() else []
    tail = did_you_mean(Path(text).name, known) or f"; {RUNS}/ has no runs: begin with `jorip train`"
    raise ConfigError(f"there is no run or folder {text!r}{tail}")
