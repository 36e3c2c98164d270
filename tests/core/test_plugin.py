"""Plugins: what a file registers, how it is refused, what is said of what was made with it."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from jorip.architectures.base import from_dict
from jorip.architectures.encoder import Encoder
from jorip.core import plugin
from jorip.core.errors import ConfigError, SpecError
from jorip.parts.attention.base import Mechanism
from jorip.parts.norm.base import Norm

FILE = Path(__file__).parents[1] / "fixtures" / "sigmoid_attention.py"
NORM = '''
from jorip.parts.norm.layer_norm import LayerNorm
class {name}(LayerNorm, abstract=False):
    """Mine."""
'''


@pytest.fixture(autouse=True)
def _forget():
    yield
    plugin.unload()
    assert not {"sigmoid", "mine"} & {*Mechanism.members(), *Norm.members()}


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def model(**fields) -> Encoder:
    layer = {"pre_norm": {"mixer": {"multi_head": {"mechanism": "sigmoid"}}}}
    return Encoder.model_validate({"vocab_size": 7, "d_model": 8, "n_heads": 2, "layer": layer} | fields)


def test_a_file_registers_its_parts():
    loaded = plugin.load(FILE)
    assert loaded.names == ["Mechanism.sigmoid"] and plugin.loaded() == [loaded]
    assert plugin.load(FILE) is loaded, "the same content is run once"
    assert Mechanism.parse("sigmoid").kind == "sigmoid" and "sigmoid" in Mechanism.members()
    assert loaded.record() == {"name": FILE.name, "path": str(FILE), "sha256": loaded.sha256}
    assert plugin.arguments() == ["--plugin", str(FILE)]
    spec = Mechanism.parse("sigmoid")
    assert type(spec).__module__ == f"jorip_plugin_{loaded.sha256[:16]}" and pickle.loads(pickle.dumps(spec)) == spec
    plugin.unload()
    assert plugin.loaded() == [] and "sigmoid" not in Mechanism.registry


def test_another_process_has_the_same_parts():
    """A worker that was spawned, not forked, gets the plugin as any process does."""
    spec = plugin.load(FILE) and Mechanism.parse("sigmoid")
    code = (
        "import sys, pickle; from jorip.core import plugin; plugin.load(sys.argv[2]);"
        "spec = pickle.load(sys.stdin.buffer); print(spec.kind, type(spec).__module__)"
    )
    call = [sys.executable, "-c", code, *plugin.arguments()]
    done = subprocess.run(call, input=pickle.dumps(spec), capture_output=True, check=True)
    assert done.stdout.decode().split() == ["sigmoid", type(spec).__module__]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef f(:\n", r"mine\.py, line 2: not valid Python: "),
        ("x = 1\0", r"mine\.py: not valid Python: source code string cannot contain null bytes"),
        ("x = 1\n", r"mine\.py: registers no part: a part is a subclass of a family, `class Mine\(Mechanism\)` for"),
        ("\nimport no_such_module\n", r"mine\.py, line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", r"mine\.py, line 1: SystemExit: 3"),
        (
            NORM.format(name="RmsNorm"),
            r"line 3: two parts of family Norm are called 'rms_norm': give yours another name",
        ),
    ],
)
def test_files_that_are_refused(tmp_path, text, message):
    path, before = write(tmp_path, text), set(sys.modules)
    with pytest.raises(ConfigError, match=r"--plugin .*" + message):
        plugin.load(path)
    assert plugin.loaded() == [] and not [m for m in set(sys.modules) - before if m.startswith("jorip_plugin")]
    assert Norm.members()["rms_norm"].__module__ == "jorip.parts.norm.rms_norm"


def test_a_file_that_fails_halfway_leaves_nothing(tmp_path):
    path = write(tmp_path, NORM.format(name="Mine") + "1 / 0\n")
    with pytest.raises(ConfigError, match=r"mine\.py, line 5: ZeroDivisionError: division by zero"):
        plugin.load(path)
    assert "mine" not in Norm.members()


def test_no_such_file(tmp_path):
    write(tmp_path, "", "attention.py")
    with pytest.raises(ConfigError, match=r"atention\.py: there is no such file; did you mean 'attention\.py'\?"):
        plugin.load(tmp_path / "atention.py")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\): give one Python file"):
        plugin.load(tmp_path)
    with pytest.raises(ConfigError, match="there is no such file"):
        plugin.load(tmp_path / "nowhere" / "x.py")


def test_two_plugins_may_not_share_a_name(tmp_path):
    plugin.load(write(tmp_path, NORM.format(name="Mine"), "a.py"))
    with pytest.raises(ConfigError, match=r"b\.py, line 4: two parts of family Norm are called 'mine'"):
        plugin.load(write(tmp_path, "\n" + NORM.format(name="Mine"), "b.py"))
    assert [p.path.name for p in plugin.loaded()] == ["a.py"] and "mine" in Norm.members()


def test_a_spec_names_the_plugins_of_its_parts(tmp_path):
    assert "plugins" not in Encoder(vocab_size=7).to_dict()
    loaded = plugin.load(FILE)
    plugin.load(write(tmp_path, NORM.format(name="Mine")))
    assert "plugins" not in Encoder(vocab_size=7).to_dict(), "only of parts that it has"
    spec = model(norm="mine", layer=[model().layer.override({"mixer.mechanism": "sigmoid"})] * 4)
    saved = json.loads(json.dumps(spec.to_dict()))
    assert [(p["name"], p["parts"]) for p in saved["plugins"]] == [
        (FILE.name, ["Mechanism.sigmoid"]),
        ("mine.py", ["Norm.mine"]),
    ]
    assert saved["plugins"][0]["sha256"] == loaded.sha256 and from_dict(saved) == spec


def test_opening_says_which_plugin_is_missing_or_has_changed(tmp_path):
    sha = plugin.load(FILE).sha256
    saved = model().to_dict()
    plugin.unload()
    message = rf"was made with the plugin {FILE.name} \(sha256 {sha[:12]}\), which is not loaded: add --plugin"
    with pytest.raises(ConfigError, match=message):
        from_dict(saved)
    changed = write(tmp_path, FILE.read_text(encoding="utf-8") + "\n# changed\n", "renamed.py")
    now = plugin.load(changed).sha256
    message = rf"the plugin {FILE.name} of sha256 {sha[:12]}, --plugin .*renamed\.py has {now[:12]}: give the file as"
    with pytest.raises(ConfigError, match=message):
        from_dict(saved)
    heard: list[str] = []
    plugin.allow_changed(heard.append)
    assert from_dict(saved).to_dict()["plugins"][0]["sha256"] == now
    assert len(heard) == 1 and heard[0].startswith("note: this model was made") and "results may differ" in heard[0]


def test_parts_that_the_caller_imported_need_no_plugin(tmp_path):
    plugin.load(FILE)
    saved = model().to_dict()
    saved["plugins"][0] |= {"sha256": "0" * 64, "name": "other.py", "parts": ["Mechanism.full"]}
    assert from_dict(saved) == model()


@pytest.mark.parametrize("wrong", [1, "x", [[]], {"name": 1}, [{"name": "a", "sha256": None}]])
def test_damaged_records(wrong):
    with pytest.raises(SpecError, match="plugins: each is a mapping with name, sha256 and parts, found"):
        from_dict(Encoder(vocab_size=7).to_dict() | {"plugins": wrong})
    with pytest.raises(ConfigError, match="which is not loaded: add --plugin a"):
        plugin.check([{"name": "a", "sha256": "b", "parts": [1, None]}])
