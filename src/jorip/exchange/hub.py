"""`hf:org/name@revision`: a model of the Hugging Face hub, of which the needed files are downloaded once and kept.

A name may move to other weights at any time, so what is loaded is always a commit: without a revision, or with a branch
or a tag, the hub is asked which commit that is now, and it is printed and kept in `model.origin.source`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from jorip.architectures.locate import WEIGHTS
from jorip.core.errors import CheckpointError
from jorip.exchange.generation import GENERATION
from jorip.exchange.origin import TOKENIZER
from jorip.exchange.shards import INDEX

HUB = "hf:"
_NAME = re.compile(r"((?:[\w][\w.-]*/)?[\w][\w.-]*)(?:@([\w][\w./-]*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")


def fetch(name: str) -> tuple[Path, str]:
    """The folder of `hf:org/name@revision` on this machine, and its name with the commit.

    Raises CheckpointError: not such a name, no such model or revision, no weights that jorip reads, not allowed to, or
    offline and not downloaded before.
    """
    match = _NAME.fullmatch(name.removeprefix(HUB))
    if match is None:
        raise CheckpointError(f"{name!r}: a model of the hub is written hf:org/name or hf:org/name@revision")
    repo, revision = match[1], match[2]
    from huggingface_hub import snapshot_download

    if revision is not None and _COMMIT.fullmatch(revision):
        commit, wanted = revision, None
    else:
        commit, files = newest(name, repo, revision)
        wanted = choose(name, files)
        print(f"{HUB}{repo} is commit {commit} now: write {HUB}{repo}@{commit} to stay with it", file=sys.stderr)
    patterns = wanted or ["config.json", GENERATION, WEIGHTS, INDEX, "model-*-of-*.safetensors", *TOKENIZER]
    try:
        folder = snapshot_download(repo, revision=commit, allow_patterns=patterns)
    except Exception as e:
        raise CheckpointError(f"{name}: {explain(e)}") from None
    return Path(folder), f"{HUB}{repo}@{commit}"


def newest(name: str, repo: str, revision: str | None) -> tuple[str, list[str]]:
    """The commit that a branch, a tag or nothing means now, and its files."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(repo, revision=revision)
    except Exception as e:
        raise CheckpointError(f"{name}: {explain(e)}") from None
    if not info.sha:
        raise CheckpointError(f"{name}: the hub does not say which commit this is: name one, {HUB}{repo}@COMMIT")
    return info.sha, [f.rfilename for f in info.siblings or []]


def choose(name: str, files: Iterable[str]) -> list[str]:
    """The files that loading needs: config, weights in one form, tokenizer, generation settings."""
    files = set(files)
    weights = {WEIGHTS} & files or {f for f in files if f == INDEX or _SHARD.fullmatch(f)}
    if "config.json" not in files or not weights:
        lacks = "config.json" if "config.json" not in files else f"{WEIGHTS} (jorip reads safetensors only)"
        pickles = sorted(f for f in files if f.endswith((".bin", ".pt", ".ckpt")))
        there = f"; it has {pickles[0]}, a pickle, which can run any code when it is opened" if pickles else ""
        raise CheckpointError(f"{name}: has no {lacks}{there}")
    return sorted({"config.json"} | weights | (files & {GENERATION, *TOKENIZER}))


def explain(e: Exception) -> str:
    """What went wrong at the hub, and what to do."""
    from huggingface_hub import errors

    cases: list[tuple[type | tuple[type, ...], str]] = [
        (errors.GatedRepoError, "its owners want to know who uses it: ask on its page, then `hf auth login`"),
        (errors.RevisionNotFoundError, "has no such revision: give a branch, a tag or a commit of it"),
        (errors.RepositoryNotFoundError, "there is no such model, or it is private (then `hf auth login`)"),
        (
            (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError),
            "the hub cannot be reached, and this revision was not downloaded before: load a folder on disk, or name a "
            "commit that is there already (hf:org/name@COMMIT)",
        ),
    ]
    why = next((text for kind, text in cases if isinstance(e, kind)), "")
    if not why and type(e).__module__.split(".")[0] in ("httpx", "httpcore", "requests", "urllib3"):
        why = cases[-1][1]
    detail = str(e).strip().splitlines()
    return why or f"cannot be downloaded ({type(e).__name__}: {detail[0][:200] if detail else ''})"
