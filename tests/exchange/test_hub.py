"""`hf:org/name@revision` with the hub's client replaced: what is asked, what is downloaded, what is said."""

import fnmatch
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

import jorip
from jorip.exchange.hub import choose
from tests.exchange.folders import make, refused, same

COMMIT, OTHER = "a" * 40, "b" * 40
BASE = ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "generation_config.json"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one model; `asked` and `patterns` are what it was asked for, `error` is what it answers instead."""
    remote = make(tmp_path / "remote")
    for name in ("README.md", "pytorch_model.bin", "tf_model.h5", "modeling_evil.py", "onnx.onnx"):
        (remote / name).write_bytes(b"not needed")
    state = SimpleNamespace(asked=[], patterns=None, error=None, remote=remote, sha=COMMIT, got=None)

    def model_info(self, repo, revision=None):
        state.asked.append((repo, revision))
        if state.error:
            raise state.error
        files = [SimpleNamespace(rfilename=p.name) for p in sorted(remote.iterdir())]
        return SimpleNamespace(sha=state.sha, siblings=files)

    def snapshot_download(repo, revision, allow_patterns):
        state.asked.append((repo, revision))
        if state.error:
            raise state.error
        state.patterns = allow_patterns
        folder = tmp_path / "cache" / "snapshots" / revision
        folder.mkdir(parents=True, exist_ok=True)
        for path in remote.iterdir():
            if any(fnmatch.fnmatch(path.name, p) for p in allow_patterns):
                shutil.copy(path, folder)
        state.got = sorted(p.name for p in folder.iterdir())
        return str(folder)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return state


@pytest.mark.parametrize(("name", "revision"), [("hf:org/name", None), ("hf:org/name@main", "main"), ("hf:gpt2", None)])
def test_a_name_becomes_a_commit(name, revision, hub, capsys):
    model = jorip.load(name)
    repo = name.removeprefix("hf:").partition("@")[0]
    assert hub.asked == [(repo, revision), (repo, COMMIT)]
    assert model.origin.source == f"hf:{repo}@{COMMIT}" and f"hf:{repo}@{COMMIT}: gpt2" in model.origin.report
    assert capsys.readouterr().err == f"hf:{repo} is commit {COMMIT} now: write hf:{repo}@{COMMIT} to stay with it\n"
    assert hub.got == ["config.json", "model.safetensors"] == sorted(hub.patterns)
    assert same(model, jorip.load(hub.remote))


def test_a_commit_is_taken_as_it_is(hub, capsys):
    model = jorip.load(f"hf:org/name@{OTHER}")
    assert hub.asked == [("org/name", OTHER)] and capsys.readouterr().err == ""
    assert model.origin.source == f"hf:org/name@{OTHER}"
    assert hub.got == ["config.json", "model.safetensors"]  # of the patterns, what is there


def test_the_source_is_kept_when_the_model_is_saved(hub, tmp_path):
    own = jorip.save(jorip.load(f"hf:org/name@{OTHER}"), tmp_path / "own")
    assert jorip.load(own).origin.source == f"hf:org/name@{OTHER}"


@pytest.mark.parametrize(
    "name", ["hf:", "hf:a/b/c", "hf:a b", "hf:../x", "hf:a/b@", "hf:a/b@@c", "hf:-a/b", "hf:a/b@../x"]
)
def test_names_that_are_none(name, hub):
    refused(name, f"{name!r}: a model of the hub is written hf:org/name or hf:org/name@revision")
    assert hub.asked == []


def http(kind):
    """Their errors want a response."""
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (http(errors.RepositoryNotFoundError), "there is no such model, or it is private"),
        (http(errors.GatedRepoError), "its owners want to know who uses it: ask on its page"),
        (http(errors.RevisionNotFoundError), "has no such revision: give a branch, a tag or a commit"),
        (errors.OfflineModeIsEnabled("offline"), "the hub cannot be reached, and this revision was not downloaded"),
        (errors.LocalEntryNotFoundError("none"), "the hub cannot be reached"),
        (ConnectionError("no route"), "the hub cannot be reached"),
        (RuntimeError("something else"), "cannot be downloaded (RuntimeError: something else)"),
        (RuntimeError(), "cannot be downloaded (RuntimeError: )"),
    ],
)
def test_what_can_go_wrong(error, says, hub):
    hub.error = error
    for name in ("hf:org/name", f"hf:org/name@{OTHER}"):
        refused(name, f"{name}: ", says)


def test_no_network_at_all():
    """The real client, in a place without network: an error, not a hang and not a traceback."""
    code = "import jorip; jorip.load('hf:org/name@' + 'a' * 40)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "the hub cannot be reached, and this revision was not downloaded before" in done.stderr


def test_a_hub_that_does_not_say_the_commit(hub):
    hub.sha = None
    refused("hf:org/name", "the hub does not say which commit this is: name one, hf:org/name@COMMIT")


def test_only_what_is_needed():
    assert choose("x", [*BASE, "README.md", "flax_model.msgpack", "sub/model.safetensors"]) == sorted(BASE)
    shards = ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert choose("x", ["config.json", *shards, "consolidated.safetensors"]) == sorted(["config.json", *shards])
    assert choose("x", ["config.json", "model.safetensors", *shards]) == ["config.json", "model.safetensors"]


def test_a_model_without_what_we_read(hub):
    (hub.remote / "model.safetensors").unlink()
    refused(
        "hf:org/name",
        "hf:org/name: has no model.safetensors (jorip reads safetensors only); it has pytorch_model.bin, a pickle",
    )
    (hub.remote / "config.json").unlink()
    refused("hf:org/name", "hf:org/name: has no config.json")
    assert hub.got is None  # nothing was downloaded
