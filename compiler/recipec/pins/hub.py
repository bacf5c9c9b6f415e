"""A model from a hub that speaks the Hugging Face protocol.

In: `hub:ORG/NAME[@REVISION]`. Out: its files in the store, the commit and the licence. It honours
`HF_ENDPOINT` and `HF_TOKEN`; the token is never printed or stored. huggingface_hub does the
talking, so its mirrors, proxies and large-file transports work as its users expect. The small files
come first, and weights only of a model that can be used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec.errors import EnvironmentLacks, HashMismatch, RecipecError
from recipec.pins.lockfile import ModelFile
from recipec.pins.models import is_weights, judge, select
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
        listed = {str(entry.rfilename): entry for entry in about.siblings or ()}
        names = select(list(listed), where=source, allow=allow)
        download = _Download(
            api=api,
            repository=repository,
            commit=str(about.sha),
            listed=listed,
            store=store,
            progress=progress,
            jobs=jobs,
        )
        small = download.files([name for name in names if not is_weights(name)])
        read = {file.path: file.sha256 for file in small}
        judge(lambda n: store.read(read[n]) if n in read else None, names, where=source)
        weights = download.files([name for name in names if is_weights(name)])
        download.close()
        files = tuple(sorted((*small, *weights), key=lambda file: file.path))
    except RecipecError:
        raise
    except Exception as error:
        raise _in_words(error, source) from error
    card = about.card_data
    license = getattr(card, "license", None) if card is not None else None
    return HubModel(files=files, commit=str(about.sha), license=str(license) if license else None)


@dataclass(frozen=True, kw_only=True)
class _Download:
    """Files of one commit, by way of a folder under partial/, where a killed download goes on."""

    api: Any
    repository: str
    commit: str
    listed: Mapping[str, Any]
    """What the hub says of each file: size, and the sha256 of a large one."""
    store: Store
    progress: Progress
    jobs: int

    @property
    def folder(self) -> Path:
        key = hashlib.sha256(f"{self.repository}@{self.commit}".encode()).hexdigest()
        return self.store.root / "partial" / f"hub-{key}"

    def files(self, names: Sequence[str]) -> list[ModelFile]:
        """Bring these into the store. Raises HashMismatch for bytes that the hub did not list."""
        make_folder(self.folder)
        task = self.progress.begin(
            self.repository, sum(int(self.listed[name].size or 0) for name in names)
        )
        found = []
        try:
            with ThreadPoolExecutor(max(1, self.jobs)) as pool:
                for name, path in zip(names, pool.map(self._one, names), strict=True):
                    digest = self.store.add_file(path, expected=self._expected(name))
                    size = path.stat().st_size
                    found.append(ModelFile(path=name, sha256=digest, size=size))
                    self.progress.advance(task, size)
        except HashMismatch:
            self.close()  # or the next try would take the same bytes for good
            raise
        finally:
            self.progress.end(task)
        return found

    def close(self) -> None:
        """Remove the folder: all that it held is in the store."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _one(self, name: str) -> Path:
        folder = os.fspath(self.folder)
        got = self.api.hf_hub_download(
            self.repository, name, revision=self.commit, local_dir=folder
        )
        return Path(got)

    def _expected(self, name: str) -> str | None:
        about = self.listed[name].lfs
        return f"sha256:{about.sha256}" if about is not None else None


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
