"""Comparisons from end to end, tiny and in this process: what is measured, locked, continued and repeated."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import jorip
from jorip.compare.child import MEASURES, is_result, main, run_folder
from jorip.compare.plan import Plan
from jorip.compare.run import here, run
from jorip.core import plugin
from jorip.core.errors import CheckpointError, ConfigError, NonFiniteError, ResourceError
from tests.compare.tiny import MECHANISMS, compare, recipe


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two variants, two seeds, two steps."""
    return compare(tmp_path_factory.mktemp("compare"), seeds=2)


@pytest.fixture
def quick(monkeypatch):
    """No pictures and pages, which take longer than such runs."""
    monkeypatch.setattr("jorip.compare.run.write", lambda found: None)


def test_what_is_measured(done):
    full, local = done.rows
    assert (full.label, local.label) == ("full", "local(window=2)")
    assert done.metric == "accuracy" and done.direction == "max" and done.splits == ["validation", "test"]
    assert full.parameters == local.parameters == sum(p.numel() for p in jorip.load(ckpt(done)).parameters())
    assert full.steps == 2 and full.state_bytes is None and full.flops_per_token > 0
    assert full.quality["test"].n == 2 and 0 <= full.quality["test"].mean <= 1
    assert full.tokens_per_second.mean > 0 and full.training_minutes.mean > 0
    assert full.peak_bytes is None or full.peak_bytes.mean >= 0
    run = full.runs[0]
    assert run["steps"] == 2 and run["ended"] == "steps" and set(run["test"]) == {"test"} and len(run["curve"]) == 2
    assert done["full"] is full


def ckpt(done):
    return done.folder / "full" / "seed-0"


def test_everything_else_is_locked(done):
    assert done.plan.differs == {
        "layer.mixer.mechanism": ["full", "local"],
        "layer.mixer.mechanism.window": ["-", 2],
    }
    runs = [r for row in done.rows for r in row.runs]
    assert len({r["fingerprint"] for r in runs}) == 1
    for seed in (0, 1):
        assert len({r["order"] for r in runs if r["seed"] == seed}) == 1
    configs = [json.loads(json.dumps(v.config)) for v in done.plan.variants]
    for c in configs:
        del c["model"]["override"]
    assert configs[0] == configs[1]
    training = configs[0]["training"]
    assert training["steps"] == 2 and training["epochs"] is training["minutes"] is training["patience"] is None
    assert training["precision"] == "fp32" and training["threads"] == 1  # nothing is measured anew for a run


def test_runs_are_ordinary_runs(done):
    opened = jorip.open_run(ckpt(done))
    assert opened.evaluate("test")["accuracy"] == done["full"].runs[0]["test"]["test"]["accuracy"]
    assert (ckpt(done) / "eval" / "test.json").is_file()


def test_files(done):
    names = {p.name for p in done.folder.iterdir()}
    charts = {f"{n}.{end}" for n in ("chart", "trade", "learning") for end in ("png", "svg")}
    assert {"run.json", "results.json", "report.html", *charts} <= names
    saved = json.loads((done.folder / "results.json").read_text(encoding="utf-8"))
    assert saved["variants"][0]["quality"]["test"]["mean"] == done.rows[0].quality["test"].mean
    assert saved["versions"]["torch"] and saved["hardware"]["cores"]
    text = (done.folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(?i)(?<![-\w])(https?:|ftp:|//[a-z])", text) and "<script" not in text
    assert "local(window=2)" in text and "layer.mixer.mechanism" in text and "default-src 'none'" in text
    ids = re.findall(r'\sid="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_nothing_is_run_twice(done, quick):
    def never(*_):
        raise AssertionError("it is done")

    again = compare(done.folder.parent, seeds=2, launch=never)
    assert again.as_dict() == done.as_dict()


def test_a_stored_comparison_gives_the_same_numbers(done, tmp_path):
    said = []
    again = run(done.folder / "run.json", out=tmp_path / "again", say=said.append, launch=here)
    assert again.reproduction == {"numbers": 24, "same": 24, "largest_difference": 0.0, "where": None}
    assert "All 24 scores are the same" in (tmp_path / "again" / "report.html").read_text(encoding="utf-8")
    assert not any(line.startswith("note") for line in said)
    path = done.folder / "results.json"
    text = path.read_text(encoding="utf-8")
    old = json.loads(text)
    old["variants"][1]["runs"][0]["test"]["test"]["accuracy"] += 0.5
    path.write_text(json.dumps(old), encoding="utf-8")
    try:
        other = run(done.folder / "run.json", out=tmp_path / "again", say=said.append, launch=here)
    finally:
        path.write_text(text, encoding="utf-8")
    assert other.reproduction is not None and other.reproduction["same"] == 23
    assert other.reproduction["where"] == "local(window=2), seed 0, test.accuracy"


def test_what_is_kept_of_a_comparison_elsewhere_repeats_it(done, tmp_path, monkeypatch):
    """As NAME.run.json and NAME.json, beside others; with fewer seeds, too."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        shutil.copyfile(done.folder / "run.json", tmp_path / f"{name}.run.json")
    shutil.copyfile(done.folder / "results.json", tmp_path / "one.json")
    again = run("one.run.json", seeds=1, launch=here)
    assert again.folder == Path("runs", "compare", "one-again") and again.plan.seeds == [0]
    assert "1 seed: three or more are needed to tell a difference from chance" in again.plan.notes
    assert again.reproduction == {"numbers": 12, "same": 12, "largest_difference": 0.0, "where": None}
    assert run("two.run.json", seeds=1, launch=here).reproduction is None  # beside it are no results
    with pytest.raises(ConfigError, match="at least one seed is needed, found 0"):
        run("two.run.json", seeds=0, launch=here)


def test_it_goes_on_after_a_kill_between_runs(done, tmp_path, quick):
    began = []

    class Killed(BaseException):
        pass

    def stop_at_the_second(folder, variant, seed):
        if len(began) == 1:
            raise Killed
        began.append((variant.label, seed))
        here(folder, variant, seed)

    with pytest.raises(Killed):
        compare(tmp_path, seeds=2, launch=stop_at_the_second)
    rest = []

    def note(folder, variant, seed):
        rest.append((variant.label, seed))
        here(folder, variant, seed)

    after = compare(tmp_path, seeds=2, launch=note)
    assert began == [("full", 0)] and rest == [("local(window=2)", 0), ("full", 1), ("local(window=2)", 1)]
    scores = [[r["test"] for row in c.rows for r in row.runs] for c in (done, after)]
    assert scores[0] == scores[1]


def test_more_seeds_may_be_asked_for_later_but_nothing_else(done, tmp_path, quick):
    shutil.copytree(done.folder, tmp_path / "out")
    more = compare(done.folder.parent, seeds=3, out=tmp_path / "out")
    assert more["full"].quality["test"].n == 3
    for options, said in (
        ({"budget": "steps=3"}, r"holds another comparison, .*\n.*steps"),
        ({"vary": MECHANISMS | {"n_layers": [1, 2]}}, "another comparison"),
        ({"overrides": ["training.optimizer.lr=0.5"]}, r"config.training.optimizer.lr: 0.01 -> 0.5"),
        ({"seeds": 0}, "at least one seed is needed, found 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            compare(done.folder.parent, out=tmp_path / "out", **options)


def test_a_budget_of_operations_gives_cheaper_models_more_steps(tmp_path):
    plan = planned(tmp_path, vary={"layer.feed_forward.d_ff": [8, 64]}, budget="flops=2e8")
    small, large = plan.variants
    assert small.steps > large.steps > 1
    spent = [v.flops_per_token * v.steps for v in plan.variants]
    assert spent[0] == pytest.approx(spent[1], rel=0.05)
    assert any(n.startswith("parameters differ by") and "d_ff=64" in n for n in plan.notes)
    assert [v.config["training"]["evaluate_every"] for v in plan.variants] == [-(-v.steps // 10) for v in plan.variants]


def test_a_budget_of_time_is_measured_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("jorip.compare.pace.ROUNDS", 1)
    plan = planned(tmp_path, budget="minutes=0.001")
    for v in plan.variants:
        assert v.seconds_per_step is not None and v.steps == max(1, round(0.06 / v.seconds_per_step))
        assert v.config["training"]["steps"] == v.steps and v.config["training"]["minutes"] is None


def planned(folder, **options):
    from jorip.compare.run import planned as plan_of
    from jorip.tasks.config import load_config

    asked = {"vary": MECHANISMS, "budget": "steps=2", "seeds": 1} | options
    return plan_of("tiny", load_config(recipe(folder)), folder / "out", say=lambda _: None, **asked)


def test_decoding_state_of_causal_models(tmp_path):
    text = (
        "task: language_model\ndata: {train: a.txt, val: a.txt, window: 8, tokens: 32}\ntokenizer: {kind: character}\n"
    )
    text += (
        "model: {override: {d_model: 8, n_layers: 1, n_heads: 2}}\ntraining: {steps: 1, schedule: {kind: constant}}\n"
    )
    (tmp_path / "a.txt").write_text("to be or not to be\n" * 9, encoding="utf-8")
    (tmp_path / "lm.yaml").write_text(text, encoding="utf-8")
    from jorip.compare.run import planned as plan_of
    from jorip.tasks.config import load_config

    vary = {"layer.mixer.mechanism": ["full", {"local": {"window": 2}}]}
    plan = plan_of(
        "lm", load_config(str(tmp_path / "lm.yaml")), tmp_path, vary=vary, budget="steps=1", say=lambda _: None
    )
    assert [v.state_bytes for v in plan.variants] == [2 * 8 * 8 * 4, 2 * 2 * 8 * 4]


def test_models_that_cannot_be_composed_are_all_named_before_anything_is_trained(tmp_path):
    vary = {"layer.mixer": ["multi_head", "fully_connected", {"lstm": {"d_hidden": 3}}]}
    with pytest.raises(ConfigError) as error:
        compare(tmp_path, vary=vary)
    said = str(error.value)
    assert "2 of 3 variants cannot be composed; nothing was trained" in said
    assert "\n  fully_connected: " in said and "\n  lstm(d_hidden=3): " in said and "must be even" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vary": {"layer.mixr": ["lstm", "rnn"]}}, "lstm: pre_norm has no field 'mixr'; did you mean 'mixer'"),
        ({"vary": {"layer.mixer": ["lstm", "lstn"]}}, "there is no mixer called 'lstn'; did you mean 'lstm'"),
        ({"seeds": 0}, "at least one seed is needed, found 0: three or more give an interval"),
        ({"budget": None}, "every run needs a budget: give --budget steps=N, flops=F or minutes=M"),
        ({"vary": {"layer.mixer.mechanism": ["full", {"full": {}}]}}, "full is there twice"),
        (
            {"vary": {}, "variants": {"a": {}, "b": {"n_layers": 2}}},
            "variants 'a' and 'b' are the same model: leave one out",
        ),
        (
            {"vary": {}, "variants": {"a": {"layer.mixer": "lstm", "training.epochs": 2}, "b": {}}},
            r"variant 'a' sets training.epochs=2, and the budget of all is 2 steps: leave it out, or pass --unequal",
        ),
    ],
)
def test_mistakes(tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        compare(tmp_path, **options)


def test_a_plan_in_which_a_part_has_fields_of_several_values(tmp_path, quick):
    """Tuples, which JSON reads back as lists."""
    dilated = {"layer.mixer.mechanism": {"longformer": {"dilation": [1, 2]}}}
    found = compare(tmp_path, vary={}, variants={"full": {}, "dilated": dilated})
    assert found["dilated"].failed == {} and found["dilated"].runs[0]["steps"] == 2


def test_unequal_budgets_when_told(tmp_path, quick):
    variants = {"a": {"layer.mixer": "lstm", "training.epochs": 1}, "b": {}}
    found = compare(tmp_path, vary={}, variants=variants, unequal=True)
    assert found["a"].runs[0]["ended"] == "epochs" and found["b"].runs[0]["ended"] == "steps"
    assert found["a"].runs[0]["steps"] > 2


@pytest.mark.parametrize("error", [ResourceError("runs/x: the disk is full"), RuntimeError("a bug"), ConfigError("no")])
def test_other_errors_are_no_results(error):
    assert not is_result(error)
    assert is_result(ResourceError("out of memory: 1 GiB")) and is_result(MemoryError())


def test_a_run_that_diverges_is_a_result(tmp_path, monkeypatch):
    def diverge(task, *_, **__):
        raise NonFiniteError("step 1: loss nan\nmore")

    monkeypatch.setattr("jorip.training.start.train", diverge)
    found = compare(tmp_path)
    assert found["full"].failed == {0: "step 1: loss nan"} and found["full"].quality == {}
    assert "full, seed 0: step 1: loss nan" in found.notes
    assert "step 1: loss nan" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_damaged_and_changed_files(done, tmp_path):
    shutil.copytree(done.folder, tmp_path / "out")
    measures = tmp_path / "out" / "full" / "seed-0" / MEASURES
    measures.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"measures\.json: damaged .* delete it, and the run is measured again"):
        compare(done.folder.parent, seeds=2, out=tmp_path / "out")
    other = json.loads((done.folder / "full" / "seed-0" / MEASURES).read_text(encoding="utf-8"))
    measures.write_text(json.dumps(other | {"fingerprint": "x"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="training data or tokenizer changed between the runs 'full, seed 0' and"):
        compare(done.folder.parent, seeds=2, out=tmp_path / "out")
    plan = tmp_path / "out" / "run.json"
    plan.write_text("[", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"run\.json: damaged"):
        Plan.read(plan)
    plan.write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(ConfigError, match="is not of a comparison"):
        Plan.read(plan)
    plan.write_text('{"format": 9, "kind": "compare"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="written in format 9, this jorip reads up to 1"):
        Plan.read(plan)
    with pytest.raises(ConfigError, match=r"is not there: give the run\.json that"):
        Plan.read(tmp_path / "none.json")
    with pytest.raises(
        ConfigError, match="says itself what is varied and under which budget: give --seeds and --out and nothing else"
    ):
        run(done.folder / "run.json", budget="steps=3")


def test_data_that_changed_under_way(done, tmp_path):
    plan = Plan.read(done.folder / "run.json")
    plan.variants[0].spec["encoder"]["vocab_size"] += 1
    with pytest.raises(CheckpointError, match="full: the data give another model than when the comparison was planned"):
        here(tmp_path, plan.variants[0], 0)


def test_a_default_that_changed_since(done, tmp_path):
    """What a plan left to a default is what it was then."""
    planned = Plan.read(done.folder / "run.json").variants[0]
    block = planned.spec["encoder"]["layer"]["pre_norm"]
    assert block["feed_forward"]["dense"]["activation"] == "gelu", "the default of today"
    block["feed_forward"]["dense"]["activation"] = "relu"
    here(tmp_path, planned, 0)
    recorded = json.loads((run_folder(tmp_path, planned, 0) / "run.json").read_text(encoding="utf-8"))
    assert recorded["recipe"]["model"]["override"]["layer.feed_forward.activation"] == "relu"


MINE = """from jorip.parts.attention.full import Full


class Mine(Full):
    pass
"""


def test_parts_of_a_plugin_go_into_the_processes(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(MINE, encoding="utf-8")
    began = []

    def child_without_a_process(call, **_):
        began.append(call)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", child_without_a_process)
    plugin.load(file)
    try:
        with pytest.raises(KeyboardInterrupt):
            compare(tmp_path, vary={"layer.mixer.mechanism": ["full", "mine"]}, launch=None)
        assert began[0][-2:] == ["--plugin", str(file)]
    finally:
        plugin.unload()
    with pytest.raises(
        ConfigError, match=r"made with the plugin mine\.py .* which is not loaded: add --plugin mine\.py"
    ):
        Plan.read(tmp_path / "out" / "run.json")
    monkeypatch.setattr("jorip.compare.child.follow", lambda parent: None)
    try:
        assert main([str(tmp_path / "out"), "mine", "0", "--plugin", str(file)]) == 0
    finally:
        plugin.unload()
    facts = json.loads((tmp_path / "out" / "mine" / "seed-0" / "run.json").read_text(encoding="utf-8"))
    assert [p["name"] for p in facts["recipe"]["plugins"]] == ["mine.py"]
    assert main([str(tmp_path / "out"), "mine", "0"]) == 2


def test_the_package_can_be_called():
    assert callable(jorip.compare) and jorip.compare.run.run is run
    with pytest.raises(ConfigError, match="there is no recipe or file called 'lisops'; did you mean 'listops'"):
        jorip.compare("lisops", budget="steps=1")
