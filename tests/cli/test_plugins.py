"""`--plugin FILE`: one file with a new attention, in every command; it is the file that docs/new-attention.md shows."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jorip.cli.main import main
from jorip.core import plugin
from jorip.core.context import Context
from jorip.core.layout import Layout
from jorip.core.mask import Causal, Everything
from jorip.parts.attention.base import Mechanism
from jorip.parts.mixer.multi_head import MultiHead
from tests.compare.tiny import compare
from tests.contracts.zoo import close, model, padded, site, tokens

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests" / "fixtures" / "sigmoid_attention.py"
USE = "model.override.layer.mixer.mechanism=sigmoid"
SHORT = ("training.steps=2", "training.evaluate_every=2")


@pytest.fixture(autouse=True)
def _forgotten():
    yield
    assert plugin.loaded() == [] and "sigmoid" not in Mechanism.registry, "a plugin is of one command line"


@pytest.fixture(scope="module")
def trained(place, tmp_path_factory) -> Path:
    """A classifier and a language model with the plugin's attention, and a changed copy of the file."""
    folder = tmp_path_factory.mktemp("plugin")
    for task in ("classify", "language_model"):
        call = ["train", place / f"{task}.yaml", USE, *SHORT, "--out", folder / task]
        assert main(["--plugin", str(FILE), *map(str, call)]) == 0
    (folder / "changed").mkdir()
    text = FILE.read_text(encoding="utf-8").replace("None = 1/sqrt(head_dim).", "None = the usual one.")
    (folder / "changed" / FILE.name).write_text(text, encoding="utf-8")
    return folder


def changed(folder: Path) -> Path:
    return folder / "changed" / FILE.name


def test_the_page_shows_this_file():
    text, page = FILE.read_text(encoding="utf-8"), (ROOT / "docs" / "new-attention.md").read_text(encoding="utf-8")
    assert f"```python\n{text}```" in page and len(text.splitlines()) < 60


def test_list(jorip):
    rows = jorip("list", "--json", "--plugin", FILE).json
    mine = {"id": None, "name": "sigmoid", "kind": "attention", "status": "working", "paper": None}
    assert rows[-1] == mine | {"plugin": str(FILE)} and rows[:-1] == jorip("list", "--json").json
    assert f"sigmoid is from {FILE}" in jorip("list", f"--plugin={FILE}").out
    assert all("plugin" not in r for r in jorip("list", "--status", "planned", "--json", "--plugin", FILE).json)
    parts = {p["name"]: p for p in jorip("list", "parts", "--json", "--plugin", FILE).json}
    assert parts["sigmoid"]["about"].startswith("Sigmoid attention: ") and parts["sigmoid"]["plugin"] == str(FILE)
    assert parts["full"]["plugin"] is None


def test_cost_show_and_diff(jorip):
    ours, full = (
        jorip("cost", "encoder-small", "--length", 64, "--json", "--plugin", FILE, *more).json["total"]
        for more in (("layer.mixer.mechanism=sigmoid",), ())
    )
    assert ours["parameters"] == full["parameters"] and ours["flops"] == full["flops"]
    shown = jorip("--plugin", FILE, "show", "encoder-small", "layer.mixer.mechanism={sigmoid: {scale: 0.5}}", "--json")
    assert shown.json["spec"]["plugins"][0]["parts"] == ["Mechanism.sigmoid"]
    assert '"sigmoid": {' in shown.out


def test_training_keeps_the_file_s_name_path_and_hash(jorip, place, trained):
    (kept,) = json.loads((trained / "classify" / "run.json").read_text(encoding="utf-8"))["recipe"]["plugins"]
    assert kept["name"] == FILE.name and kept["path"] == str(FILE) and re.fullmatch(r"[0-9a-f]{64}", kept["sha256"])
    assert "plugins" not in jorip("train", place / "classify.yaml", USE, "--print-config", "--plugin", FILE).out


def test_a_run_goes_on_with_the_same_file_wherever_it_is(jorip, place, trained, tmp_path):
    shutil.copytree(trained / "classify", tmp_path / "run")
    moved = tmp_path / "moved.py"
    shutil.copy(FILE, moved)
    call = ("train", place / "classify.yaml", USE, "--out", tmp_path / "run")
    done = jorip(*call, *SHORT, "--plugin", moved)
    assert done.code == 0 and "resuming" in done.err
    missing = jorip(*call)
    assert missing.code == 2 and f"{tmp_path / 'run'}: this model was made with the plugin {FILE.name}" in missing.err
    assert "which is not loaded: add --plugin sigmoid_attention.py" in missing.err
    other = jorip(*call, "--plugin", changed(trained))
    assert other.code == 2 and re.search(
        r"of sha256 \w{12}, --plugin .* has \w{12}: give the file as it was", other.err
    )


def test_a_run_without_plugins_takes_no_notice_of_one(jorip, place, runs, tmp_path):
    shutil.copytree(runs / "classify", tmp_path / "run")
    assert jorip("train", place / "classify.yaml", "--out", tmp_path / "run", "--plugin", FILE).code == 0


def test_predict_generate_and_eval(jorip, trained):
    found = jorip("predict", trained / "classify", "정말 좋은 영화", "--json", "--plugin", FILE).json
    assert found[0]["prediction"] in ("good", "bad")
    assert "accuracy" in jorip("eval", trained / "classify", "--plugin", FILE, "--json").json["scores"]["test"]
    text = jorip("generate", trained / "language_model", "to be", "--plugin", FILE)
    assert text.code == 0 and text.out.startswith("to be")


@pytest.mark.parametrize("command", [("predict", "좋은"), ("eval",), ("show",), ("cost",)])
def test_opening_without_the_file_or_with_another(jorip, trained, command):
    name, *more = command
    missing = jorip(name, trained / "classify", *more)
    assert missing.code in (2, 4) and "which is not loaded: add --plugin sigmoid_attention.py" in missing.err
    other = jorip(name, trained / "classify", *more, "--plugin", changed(trained))
    assert other.code == 0 and other.err.count("results may differ") >= 1 and "note: this model was made" in other.err


def test_starting_from_another_file_s_model_is_refused(jorip, place, trained, tmp_path):
    start = (f"model={{start_from: {trained / 'classify'}}}", *SHORT, "--out", tmp_path / "run")
    refused = jorip("train", place / "classify.yaml", *start, "--plugin", changed(trained))
    assert refused.code == 4 and "give the file as it was" in refused.err
    assert jorip("train", place / "classify.yaml", *start, "--plugin", FILE).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "--plugin"), "--plugin takes a Python file, found 'nothing'"),
        (("list", "--plugin", "--json"), "--plugin takes a Python file, found '--json'"),
        (("list", "--plugin="), "--plugin takes a Python file, found 'nothing'"),
        (("--plugin", "no_such.py", "list"), "--plugin no_such.py: there is no such file"),
        (("train", "x", "--plugin", "tests/cli/nothing.py"), "nothing.py: there is no such file"),
    ],
)
def test_wrong_options(jorip, arguments, message):
    done = jorip(*arguments)
    assert done.code == 2 and message in done.err and done.out == "" and "Traceback" not in done.err


def test_files_with_mistakes(jorip, tmp_path):
    for text, message in (("def f(:", "line 1: not valid Python"), ("x = 1", "registers no part")):
        (tmp_path / "my.py").write_text(text, encoding="utf-8")
        done = jorip("list", "--plugin", tmp_path / "my.py")
        assert done.code == 2 and message in done.err and done.out == ""


def test_after_two_dashes_it_is_text(jorip, runs):
    done = jorip("predict", runs / "classify", "--json", "--", "--plugin", FILE)
    assert [r["text"] for r in done.json] == ["--plugin", str(FILE)] if "text" in done.json[0] else done.code == 0


def test_help_names_it_and_runs_nothing(jorip):
    assert "--plugin FILE.py" in jorip("--help").out and "--plugin FILE.py" in jorip("train", "--help").out
    assert jorip("--plugin", "no_such.py", "train", "--help").code == 0


def test_no_file_imports_anything(jorip, tmp_path, trained):
    """What a run says of its plugin's path is never followed."""
    run = tmp_path / "run"
    shutil.copytree(trained / "classify", run)
    mark = tmp_path / "was_run"
    evil = tmp_path / FILE.name
    evil.write_text(f"open({str(mark)!r}, 'w').close()", encoding="utf-8")
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    facts["recipe"]["plugins"][0]["path"] = str(evil)
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    assert jorip("predict", run, "x").code == 4 and not mark.exists()


def test_two_processes_train_with_it(place, tmp_path):
    """torchrun starts the same command line several times."""
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "jorip.cli"]
    call += ["train", str(place / "classify.yaml"), USE, *SHORT, "--out", str(tmp_path / "run"), "--plugin", str(FILE)]
    done = subprocess.run(call, capture_output=True, timeout=250)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert (tmp_path / "run" / "run.json").is_file()


@pytest.fixture
def mechanism():
    plugin.load(FILE)
    yield Mechanism.parse("sigmoid")
    plugin.unload()


def test_the_attention_is_its_formula(mechanism):
    at = Layout.of(torch.tensor([5, 2]))
    s = {n: torch.randn(2, 2, 5, 4, dtype=torch.float64) for n in "qkv"}
    for mask in (Causal(), Everything()):
        y, _ = mechanism.build(site(mask.causal))(s, at, at, {}, Context(mask=mask))
        for b, h, i in ((0, 0, 3), (0, 1, 0), (1, 1, 1)):
            n = i + 1 if mask.causal else (5, 2)[b]
            scores = s["k"][b, h, :n] @ s["q"][b, h, i] / 2
            close(y[b, h, i], (scores - torch.tensor(n).log()).sigmoid() @ s["v"][b, h, :n], 1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_padding_grouping_and_steps(mechanism, causal):
    """Ragged batches equal each sequence alone; step by step equals the full pass."""
    more = {"n_kv_heads": 1, "position": "alibi" if causal else "sinusoidal"}
    m, texts = model(MultiHead(mechanism=mechanism), causal, **more), tokens()
    ids, mask = padded(texts, "inside")
    for h, seen, t in zip(m(ids, mask=mask).hidden, mask, texts):
        close(h[seen], m(t[None]).hidden[0])
    if causal:
        state = m.new_state(1)
        with torch.no_grad():
            steps = [m(t[None, None], state=state).hidden[0] for t in texts[2]]
        close(torch.cat(steps), m(texts[2][None]).hidden[0])
        assert m.generate(texts[2][None], max_new_tokens=3).shape == (1, 3)


def test_compare(mechanism, tmp_path):
    found = compare(tmp_path, vary={"layer.mixer.mechanism": ["full", mechanism.kind]})
    assert [v.label for v in found.plan.variants] == ["full", "sigmoid"]
    (kept,) = found.plan.variants[1].spec["plugins"]
    assert kept["name"] == FILE.name and "plugins" not in found.plan.variants[0].spec


@pytest.mark.parametrize("causal", [False, True])
def test_bfloat16(mechanism, causal):
    m = model(MultiHead(mechanism=mechanism), causal, dtype=torch.bfloat16)
    assert m(tokens()[2][None]).hidden.dtype == torch.bfloat16
