"""A model from a hub that speaks the Hugging Face protocol.

In: `hub:ORG/NAME[@REVISION]`. Out: its files in the store, the commit and the licence. It honours
`HF_ENDPOINT` and `HF_TOKEN`; the token is never printed or stored. huggingface_hub does the
talking, so its mirrors, proxies and large-file transports work as its users expect.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec.errors import EnvironmentLacks, RecipecError
from recipec.pins.lockfile import ModelFile
from recipec.pins.models import select
from recipec.pins.transport import Gone
from recipec.progress import Progress
from recipec.store import Store, make_folder


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """A model's files in the store at one commit."""

    files: tuple[ModelFile, ...]
    commit: str
    license: str | None


def fetch_hub(
    source: str,
    *,
    commit: str | None,
    store: Store,
    progress: Progress,
    jobs: int = 4,
    allow: Collection[str] = (),
) -> HubModel:
    """Bring the model into the store; `commit` replaces the revision that `source` names.

    `allow` are the risks that the recipe takes.
    Raises EnvironmentLacks (huggingface_hub missing, no network, not allowed), Gone, RecipeError.
    """
    hub = _library()
    repository, _, revision = source.removeprefix("hub:").partition("@")
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        about = api.model_info(repository, revision=commit or revision or None, files_metadata=True)
        sizes = {str(s.rfilename): int(s.size or 0) for s in about.siblings or ()}
        names = select(list(sizes), where=source, allow=allow)
        files = _download(
            api, repository, str(about.sha), names, sizes, store=store, progress=progress, jobs=jobs
        )
    except RecipecError:
        raise
    except Exception as error:
        raise _in_words(error, source) from error
    card = about.card_data
    license = getattr(card, "license", None) if card is not None else None
    return HubModel(files=files, commit=str(about.sha), license=str(license) if license else None)


def _download(
    api: Any,
    repository: str,
    commit: str,
    names: Sequence[str],
    sizes: dict[str, int],
    *,
    store: Store,
    progress: Progress,
    jobs: int,
) -> tuple[ModelFile, ...]:
    """The files by way of a folder under partial/, where a killed download goes on."""
    key = hashlib.sha256(f"{repository}@{commit}".encode()).hexdigest()
    folder = make_folder(store.root / "partial" / f"hub-{key}")
    task = progress.begin(repository, sum(sizes[name] for name in names))

    def one(name: str) -> Path:
        return Path(
            api.hf_hub_download(repository, name, revision=commit, local_dir=os.fspath(folder))
        )

    files = []
    try:
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            for name, path in zip(names, pool.map(one, names), strict=True):
                size = path.stat().st_size
                files.append(ModelFile(path=name, sha256=store.add_file(path), size=size))
                progress.advance(task, size)
    finally:
        progress.end(task)
    shutil.rmtree(folder, ignore_errors=True)
    return tuple(files)


def _library() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        import huggingface_hub
    except ImportError as error:
        raise EnvironmentLacks(
            "hub models need huggingface_hub", hint="install it: `pip install 'recipec[hub]'`"
        ) from error
    return huggingface_hub


def _in_words(error: Exception, source: str) -> RecipecError:
    """A failure of the hub's library as one of ours, by the names of its classes."""
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    if "RevisionNotFoundError" in names or "EntryNotFoundError" in names:
        return Gone(f"{source}: the hub has no such revision", hint="check what follows the @")
    if "GatedRepoError" not in names and ("RepositoryNotFoundError" in names or status == 404):
        return Gone(
            f"{source}: the hub has no such model",
            hint="check the spelling; a private model needs HF_TOKEN",
        )
    if "GatedRepoError" in names or status in {401, 403}:
        return EnvironmentLacks(
            f"{source}: the hub does not let you in",
            hint="accept the model's terms on its page and set HF_TOKEN",
        )
    if isinstance(error, OSError) and error.errno is not None:
        return EnvironmentLacks(f"{source}: {error.strerror or error}")
    return EnvironmentLacks(
        f"{source}: the hub cannot be reached"
        f" ({f'HTTP {status}' if status else type(error).__name__})",
        hint="check the connection, HTTPS_PROXY, HF_ENDPOINT and HF_HUB_OFFLINE; what is in the"
        " cache needs no network",
    )
