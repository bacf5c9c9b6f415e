"""Models from a hub: a server on loopback that speaks its protocol."""

from __future__ import annotations

import json

import pytest

from recipec.errors import EnvironmentLacks, RecipeError
from recipec.pins.hub import fetch_hub
from recipec.pins.transport import Gone
from recipec.progress import Silent
from recipec.store import Store, sha256
from tests.support.upstreams import Site

COMMIT, NEWER = "a" * 40, "b" * 40
WEIGHTS = bytes(range(256)) * 20_000
CONFIG = json.dumps({"model_type": "t5", "is_encoder_decoder": True}).encode()
FILES = {
    "README.md": b"---\nlicense: mit\n---\n",
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle",
    "tokenizer.json": b"{}",
}


def publish(site: Site, commit: str, revisions: tuple[str, ...], files: dict[str, bytes]) -> None:
    """What a hub answers for one commit of org/tiny."""
    about = {
        "id": "org/tiny",
        "modelId": "org/tiny",
        "sha": commit,
        "cardData": {"license": "mit"},
        "siblings": [{"rfilename": name, "size": len(data)} for name, data in files.items()],
    }
    body = json.dumps(about).encode()
    for revision in (commit, *revisions):
        path = "/api/models/org/tiny" + (f"/revision/{revision}" if revision else "")
        site.files[path] = body
        site.headers[path] = {"Content-Type": "application/json"}
    for name, data in files.items():
        path = f"/org/tiny/resolve/{commit}/{name}"
        site.files[path] = data
        site.headers[path] = {
            "ETag": f'"{sha256(data)[7:]}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }


@pytest.fixture
def hub(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    publish(site, COMMIT, ("", "v1"), FILES)
    monkeypatch.setenv("HF_ENDPOINT", site.base)
    return site


def get(source: str, store: Store, commit: str | None = None) -> dict[str, bytes]:
    found = fetch_hub(source, commit=commit, store=store, progress=Silent())
    assert found.commit == COMMIT
    assert found.license == "mit"
    return {file.path: store.read(file.sha256) for file in found.files}


@pytest.mark.parametrize("source", ["hub:org/tiny", "hub:org/tiny@v1", f"hub:org/tiny@{COMMIT}"])
def test_a_model(hub: Site, store: Store, source: str) -> None:
    assert get(source, store) == {
        "config.json": CONFIG,
        "model.safetensors": WEIGHTS,
        "tokenizer.json": b"{}",
    }
    assert hub.asked(f"/org/tiny/resolve/{COMMIT}/pytorch_model.bin") == 0
    assert list((store.root / "partial").iterdir()) == []


def test_the_pinned_commit_is_taken(hub: Site, store: Store) -> None:
    publish(hub, NEWER, ("",), {**FILES, "config.json": b"{}"})
    assert get("hub:org/tiny", store, COMMIT)["config.json"] == CONFIG


def test_a_download_that_was_cut(hub: Site, store: Store) -> None:
    hub.cuts[f"/org/tiny/resolve/{COMMIT}/model.safetensors"] = [2_000_000]
    try:
        found = get("hub:org/tiny", store)
    except EnvironmentLacks:
        found = get("hub:org/tiny", store)
    assert found["model.safetensors"] == WEIGHTS


def test_no_such_model_or_revision(hub: Site, store: Store) -> None:
    hub.headers["/api/models/org/none"] = {"X-Error-Code": "RepoNotFound"}
    with pytest.raises(Gone) as caught:
        fetch_hub("hub:org/none", commit=None, store=store, progress=Silent())
    assert caught.value.message == "hub:org/none: the hub has no such model"
    hub.headers["/api/models/org/tiny/revision/v9"] = {"X-Error-Code": "RevisionNotFound"}
    with pytest.raises(Gone) as caught:
        fetch_hub("hub:org/tiny@v9", commit=None, store=store, progress=Silent())
    assert caught.value.message == "hub:org/tiny@v9: the hub has no such revision"


def test_gated(hub: Site, store: Store) -> None:
    hub.failures["/api/models/org/tiny"] = [403]
    hub.headers["/api/models/org/tiny"] = {"X-Error-Code": "GatedRepo"}
    with pytest.raises(EnvironmentLacks) as caught:
        fetch_hub("hub:org/tiny", commit=None, store=store, progress=Silent())
    assert caught.value.message == "hub:org/tiny: the hub does not let you in"


def test_no_hub(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentLacks) as caught:
        fetch_hub("hub:org/tiny", commit=None, store=store, progress=Silent())
    assert caught.value.message.startswith("hub:org/tiny: the hub cannot be reached (")


def test_pickles_only(hub: Site, store: Store) -> None:
    publish(hub, COMMIT, ("",), {"config.json": CONFIG, "pytorch_model.bin": b"p"})
    with pytest.raises(RecipeError, match="the model has pickled weights only"):
        fetch_hub("hub:org/tiny", commit=None, store=store, progress=Silent())


def test_library_is_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(EnvironmentLacks) as caught:
        fetch_hub("hub:org/tiny", commit=None, store=store, progress=Silent())
    assert caught.value.hint == "install it: `pip install 'recipec[hub]'`"
