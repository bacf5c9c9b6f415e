"""Models from a hub: a server on loopback that speaks its protocol."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from recipec.errors import EnvironmentLacks, HashMismatch, RecipeError
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


TOKEN = "hf_secretsecret"
WEIGHTS_PATH = f"/org/tiny/resolve/{COMMIT}/model.safetensors"


def large(data: bytes) -> dict[str, object]:
    """What a hub says of a file that it keeps apart."""
    return {"sha256": sha256(data)[7:], "size": len(data), "pointerSize": 130}


def publish(site: Site, commit: str, revisions: tuple[str, ...], files: dict[str, bytes]) -> None:
    """What a hub answers for one commit of org/tiny."""
    about = {
        "id": "org/tiny",
        "modelId": "org/tiny",
        "sha": commit,
        "cardData": {"license": "mit"},
        "siblings": [
            {"rfilename": name, "size": len(data)}
            | ({"lfs": large(data)} if name.endswith(".safetensors") else {})
            for name, data in files.items()
        ],
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


def test_a_download_that_was_cut_goes_on(hub: Site, store: Store) -> None:
    weights = WEIGHTS * 5  # the library writes 10 MB at a time
    publish(hub, COMMIT, ("",), {**FILES, "model.safetensors": weights})
    hub.cuts[WEIGHTS_PATH] = [len(weights) - 1_000_000]
    try:
        found = get("hub:org/tiny", store)
    except EnvironmentLacks:
        found = get("hub:org/tiny", store)
    assert found["model.safetensors"] == weights
    ranges = [wanted for method, path, wanted in hub.requests if path == WEIGHTS_PATH and wanted]
    assert any(int(wanted[6:].partition("-")[0]) > 0 for wanted in ranges), hub.requests


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: Site, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    get("hub:org/tiny", store)
    assert f"Bearer {TOKEN}" in hub.authorizations
    for path in store.root.rglob("*"):
        assert TOKEN not in path.name
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()
    hub.failures["/api/models/org/tiny"] = [500] * 20
    with pytest.raises(EnvironmentLacks) as caught:
        get("hub:org/tiny", store)
    assert TOKEN not in caught.value.render()
    assert TOKEN not in repr(caught.value.__cause__)


def test_bytes_that_the_hub_did_not_list(hub: Site, store: Store) -> None:
    hub.files[WEIGHTS_PATH] = WEIGHTS[::-1]
    with pytest.raises(HashMismatch):
        get("hub:org/tiny", store)
    hub.files[WEIGHTS_PATH] = WEIGHTS
    assert get("hub:org/tiny", store)["model.safetensors"] == WEIGHTS


def test_weights_of_a_model_with_code_are_not_downloaded(hub: Site, store: Store) -> None:
    config = json.dumps({"model_type": "t5", "auto_map": {"AutoModel": "m.M"}}).encode()
    publish(hub, COMMIT, ("",), {**FILES, "config.json": config})
    with pytest.raises(RecipeError) as caught:
        fetch_hub("hub:org/tiny", commit=None, store=store, progress=Silent(), allow=("pickle",))
    assert caught.value.diagnostics[0].render() == (
        "hub:org/tiny/config.json: error: the model brings its own code (`auto_map`), which is"
        " never run\n"
        "  hint: use a model whose architecture transformers has itself"
    )
    assert hub.asked(WEIGHTS_PATH) == 0


def test_pickles_where_they_are_allowed(hub: Site, store: Store) -> None:
    files = {"config.json": CONFIG, "pytorch_model.bin": b"p", "tokenizer.json": b"{}"}
    publish(hub, COMMIT, ("",), files)
    found = fetch_hub(
        "hub:org/tiny", commit=None, store=store, progress=Silent(), allow=("pickle",)
    )
    assert [file.path for file in found.files] == sorted(files)


def test_offline(store: Store) -> None:
    code = (
        "from pathlib import Path\n"
        "from recipec.errors import RecipecError\n"
        "from recipec.pins.hub import fetch_hub\n"
        "from recipec.progress import Silent\n"
        "from recipec.store import Store\n"
        "try:\n"
        f"    fetch_hub('hub:org/tiny', commit=None, store=Store(Path({str(store.root)!r})),"
        " progress=Silent())\n"
        "except RecipecError as error:\n"
        "    print(error.render())\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={"HF_HUB_OFFLINE": "1", "HOME": str(store.root), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said == (
        "error: hub:org/tiny: the hub cannot be reached (OfflineModeIsEnabled)\n"
        "  hint: check the connection, HTTPS_PROXY, HF_ENDPOINT and HF_HUB_OFFLINE; what is in the"
        " cache needs no network\n"
    )


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
