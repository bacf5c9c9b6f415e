"""push: an image's blobs and manifest into a registry, every byte as it is in the store.

In: an image, its store, a reference. Out: the reference by digest. Blobs go up in parallel and
before the manifest; nothing is compressed or written anew, so the digest in the registry is the
image's own, which is read back to prove it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.image.image import Descriptor, Image
from recipec.progress import Progress
from recipec.publish import credentials
from recipec.publish.reference import Reference, Target, check_tag, parse
from recipec.publish.session import Session, refusal
from recipec.publish.upload import Upload
from recipec.store import Store, sha256

PARALLEL = 4
"""Blobs on their way at once."""

SEEN = "pushed"
"""Kind of the store's records that say which repository of a registry got a blob."""


def push(
    image: Image,
    store: Store,
    reference: str,
    *,
    schema2: bool = False,
    tags: Sequence[str] = (),
    progress: Progress,
    plain_http: bool = False,
) -> Reference:
    """Push the image under the tag of `reference` and under `tags`; where it is, by digest.

    The OCI manifest is pushed, or with `schema2` the Docker one. Plain HTTP is used for loopback
    registries, and for others only with `plain_http`. Raises UsageError for a wrong reference,
    EnvironmentLacks when the registry cannot be reached or refuses, HashMismatch when it keeps
    other bytes than those sent.
    """
    target = parse(reference)
    names = list(dict.fromkeys([target.tag, *(check_tag(tag) for tag in tags)]))
    manifest = image.schema2 if schema2 else image.manifest
    blobs = _blobs(image)
    for blob in (*blobs, manifest):
        if not store.has(blob.digest):
            raise EnvironmentLacks(
                f"the blob {blob.digest} is not in the store", hint="run `recipec build` again"
            )
    sources = {blob.digest: _mounted_from(store, target, blob) for blob in blobs}
    session = Session(
        target.registry,
        scopes=_scopes(target, {source for source in sources.values() if source}),
        credential=credentials.find(target.registry),
        plain_http=plain_http,
    )
    _greet(session)
    _send_blobs(session, target, blobs, sources, store, progress)
    for name in names:
        _put_manifest(session, target, name, manifest, store.read(manifest.digest))
    _read_back(session, target, manifest)
    return Reference(registry=target.registry, repository=target.repository, digest=manifest.digest)


def _blobs(image: Image) -> list[Descriptor]:
    """Config and layers, each once, the largest first so that none is left for the end."""
    unique = {blob.digest: blob for blob in (image.config, *(la.blob for la in image.layers))}
    return sorted(unique.values(), key=lambda blob: (-blob.size, blob.digest))


def _scopes(target: Target, sources: set[str]) -> tuple[str, ...]:
    own = f"repository:{target.repository}:pull,push"
    return (own, *(f"repository:{source}:pull" for source in sorted(sources)))


def _greet(session: Session) -> None:
    """Authenticate before any large body is sent, and make sure that this is a registry."""
    answer = session.request("GET", "/v2/")
    if answer.status in {401, 403}:
        raise refusal(answer, "to talk", session.registry)
    if answer.status != 200:
        raise EnvironmentLacks(
            f"{session.registry} is no registry: it answers /v2/ with status {answer.status}",
            hint="check the host and the port",
        )


def _send_blobs(
    session: Session,
    target: Target,
    blobs: Sequence[Descriptor],
    sources: dict[str, str],
    store: Store,
    progress: Progress,
) -> None:
    task = progress.begin(f"pushing to {target.registry}", sum(blob.size for blob in blobs))

    def send(blob: Descriptor) -> None:
        upload = Upload(
            session,
            target.repository,
            blob,
            store.path(blob.digest),
            lambda amount: progress.advance(task, amount),
        )
        upload.run(mount_from=sources[blob.digest])
        store.put_record(SEEN, _record_key(target, blob), {"repository": target.repository})

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        waiting = [pool.submit(send, blob) for blob in blobs]
        try:
            for done in waiting:
                done.result()
        except BaseException:
            for other in waiting:
                other.cancel()
            raise
    progress.end(task)


def _record_key(target: Target, blob: Descriptor) -> str:
    return f"{target.registry} {blob.digest}"


def _mounted_from(store: Store, target: Target, blob: Descriptor) -> str:
    """Another repository of the same registry that got the blob from here, or nothing."""
    record = store.record(SEEN, _record_key(target, blob))
    found = str(record.get("repository", "")) if isinstance(record, dict) else ""
    return found if found != target.repository else ""


def _put_manifest(
    session: Session, target: Target, tag: str, manifest: Descriptor, data: bytes
) -> None:
    answer = session.request(
        "PUT",
        f"/v2/{target.repository}/manifests/{tag}",
        headers={"Content-Type": manifest.media_type},
        body=data,
    )
    if answer.status not in {200, 201, 202}:
        raise refusal(answer, f"the manifest as {tag}", target.registry)
    found = answer.headers.get("Docker-Content-Digest", manifest.digest)
    if found != manifest.digest:
        raise _changed(target, manifest, found)


def _read_back(session: Session, target: Target, manifest: Descriptor) -> None:
    """Raise HashMismatch unless the registry returns the very bytes of the manifest."""
    answer = session.request(
        "GET",
        f"/v2/{target.repository}/manifests/{manifest.digest}",
        headers={"Accept": manifest.media_type},
    )
    if answer.status != 200:
        raise refusal(answer, "to return the manifest", target.registry)
    found = sha256(answer.data)
    if found != manifest.digest:
        raise _changed(target, manifest, found)


def _changed(target: Target, manifest: Descriptor, found: str) -> HashMismatch:
    return HashMismatch(
        f"the manifest in {target.registry}/{target.repository}",
        expected=manifest.digest,
        found=found,
        hint="the registry, or something before it, rewrites manifests; try --schema2",
    )
