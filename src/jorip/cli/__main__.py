"""`python -m jorip.cli` is `jorip`."""

from jorip.cli.main import run

if __name__ == "__main__":
    run()
