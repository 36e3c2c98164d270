import io

from rich.console import Console

from jorip.training import TrainConfig, train
from jorip.training.progress import Progress, clock, count_text
from tests.training.toy import ToyTask


def output(terminal: bool, tmp_path) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120)
    train(ToyTask(), TrainConfig(steps=20, log_every=10, evaluate_every=10), tmp_path / "run", console=console)
    return text.getvalue()


def test_plain_lines_when_not_a_terminal(tmp_path):
    text = output(False, tmp_path)
    assert "\x1b" not in text
    (line,) = [x for x in text.splitlines() if x.startswith("step 10  epoch")]
    assert "step 10  epoch 1.25  loss 4." in line and "tokens/s  padding 0 %" in line and line.endswith("left")
    assert "step 20  validation: loss " in text and "(best so far)" in text


def test_a_bar_in_a_terminal(tmp_path):
    text = output(True, tmp_path)
    assert "━" in text and "step" in text and "validation" in text
    assert "step 10  epoch" not in text


def test_other_ranks_are_silent(capsys):
    with Progress(None, visible=False) as p:
        p.notice("hello")
        p.step(1, 0.5, 1.0)
        p.evaluation(1, {"loss": 1.0}, True)
    assert capsys.readouterr() == ("", "")


def test_square_brackets_are_text(capsys):
    Progress(None, visible=True).notice("[bold]x[/bold] [3, 4]")
    assert capsys.readouterr().err == "[bold]x[/bold] [3, 4]\n"


def test_numbers_for_people():
    assert [clock(s) for s in (5, 65, 3661)] == ["0:05", "1:05", "1:01:01"]
    assert [count_text(n) for n in (7, 1234, 5.6e6, 7e9)] == ["7", "1.2k", "5.6M", "7.0G"]
