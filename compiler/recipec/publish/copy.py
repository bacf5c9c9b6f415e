"""copy: an image, an index or an artifact from one repository to another, byte for byte.

In: two references. Out: the same manifests and blobs at the second. Between repositories of one
registry blobs are mounted; otherwise they pass through the store, where they are checked, so that a
copy that was cut goes on where it was. Nothing is unpacked, compressed or written anew. Evidence
and signatures come along, and are there before the tag is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipec.errors import UnsafeInput
from recipec.image.image import Descriptor
from recipec.progress import Progress
from recipec.publish.blobs import Download
from recipec.publish.companions import Companion, companions, put_companions
from recipec.publish.manifests import Index, Manifest, fetch
from recipec.publish.parallel import each, largest_first
from recipec.publish.reference import Source, Target, parse, parse_source
from recipec.publish.registry import (
    Moved,
    Pushed,
    open_session,
    put_manifest,
    remember,
    tag_all,
)
from recipec.publish.remote import Remote
from recipec.publish.session import Session
from recipec.publish.upload import Outcome, Upload
from recipec.store import Store

_DEEPEST, _MOST = 4, 1000
"""Indexes in indexes, and manifests in all, that one copy follows."""


def copy(
    source: str,
    target: str,
    store: Store,
    *,
    progress: Progress,
    plain_http: bool = False,
    evidence: bool = True,
) -> Pushed:
    """Copy what `source` names, every platform of it; where it is now, by digest.

    With `evidence` what is about these manifests is copied, too. A `target` without a tag gets that
    of the source. Raises what `pull` and `push` raise.
    """
    here = parse_source(source)
    there = _target(target, here)
    getting = open_session(here, write=False, plain_http=plain_http)
    top = fetch(getting, here.repository, here.wanted)
    manifests = _below(getting, here, top, depth=0)
    same = here.registry == there.registry
    mounts = (here.repository,) if same else ()
    putting = open_session(there, write=True, mounts=mounts, plain_http=plain_http)
    beside = _beside(getting, here, manifests) if evidence else []
    every = [*manifests, *(one.manifest for one in beside)]
    moved = _blobs(getting, putting, here, there, every, store, progress)
    for manifest in manifests[:-1]:
        put_manifest(putting, there, manifest.about.digest, manifest.about, manifest.data)
    put_companions(Remote(there, session=putting), beside, store)
    tag_all(putting, there, (there.tag,), top.about, top.data)
    return Pushed(
        registry=there.registry,
        repository=there.repository,
        digest=top.about.digest,
        tags=(there.tag,),
        moved=moved,
        manifest=sum(len(manifest.data) for manifest in every),
        beside=len(beside),
    )


def _beside(
    session: Session, source: Source, manifests: Sequence[Manifest | Index]
) -> list[Companion]:
    place = Target(registry=source.registry, repository=source.repository, tag=source.tag)
    subjects = [manifest.about.digest for manifest in manifests]
    return companions(Remote(place, session=session), subjects)


def _target(text: str, source: Source) -> Target:
    target = parse(text)
    tagged = ":" in text.partition("/")[2]
    tag = target.tag if tagged else source.tag or target.tag
    return Target(registry=target.registry, repository=target.repository, tag=tag)


def _below(
    session: Session, source: Source, top: Manifest | Index, *, depth: int
) -> list[Manifest | Index]:
    """The manifests of an index before the index itself, as registries want them."""
    if isinstance(top, Manifest):
        return [top]
    if depth == _DEEPEST or len(top.entries) > _MOST:
        raise UnsafeInput(f"{source} is an index of too many manifests")
    found: dict[str, Manifest | Index] = {}
    for entry in top.entries:
        inner = fetch(session, source.repository, entry.about.digest, about=entry.about)
        for manifest in _below(session, source, inner, depth=depth + 1):
            found[manifest.about.digest] = manifest
        if len(found) > _MOST:
            raise UnsafeInput(f"{source} is an index of too many manifests")
    return [*found.values(), top]


def _blobs(
    getting: Session,
    putting: Session,
    source: Source,
    target: Target,
    manifests: list[Manifest | Index],
    store: Store,
    progress: Progress,
) -> tuple[Moved, ...]:
    blobs = largest_first(
        blob
        for manifest in manifests
        if isinstance(manifest, Manifest)
        for blob in (manifest.config, *manifest.layers)
    )
    task = progress.begin(f"copying to {target.registry}", sum(blob.size for blob in blobs))
    mount = source.repository if source.registry == target.registry else ""

    def move(blob: Descriptor) -> Moved:
        def obtain() -> Path:
            return Download(getting, source.repository, blob, store, lambda _: None).run()

        upload = Upload(
            putting,
            target.repository,
            blob,
            obtain,
            lambda amount: progress.advance(task, amount),
        )
        outcome = upload.run(mount_from="" if mount == target.repository else mount)
        remember(store, target.registry, target.repository, blob.digest)
        return Moved(blob=blob, outcome=outcome, source=mount if outcome is Outcome.MOUNTED else "")

    moved = each(blobs, move, getting, putting)
    progress.end(task)
    return tuple(moved)
