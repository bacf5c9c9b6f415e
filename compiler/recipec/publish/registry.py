"""push: an image's blobs and manifest into a registry, every byte as it is in the store.

In: an image, its store, a reference. Out: the reference by digest, and what was moved; or, of a
survey, what would be. Blobs go up in parallel and before the manifest; nothing is compressed or
written anew, so the digest in the registry is the image's own, which is read back to prove it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipec.catalog.registries import quirks_of
from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.image.image import Descriptor, Image
from recipec.progress import Progress
from recipec.publish import credentials
from recipec.publish.lending import Lender, Lending
from recipec.publish.manifests import ACCEPT
from recipec.publish.parallel import each, largest_first
from recipec.publish.reference import Reference, Source, Target, check_tag, parse
from recipec.publish.refusals import said
from recipec.publish.session import Session
from recipec.publish.upload import Outcome, Upload, has_blob
from recipec.publish.wire import Answer
from recipec.store import Store, sha256

SEEN = "pushed"
"""Kind of the store's records that say which repository of a registry got a blob."""

MANIFEST_TRIES = 3
_PASSING = frozenset(
    {"MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "DIGEST_INVALID", "SIZE_INVALID"}
)
"""Error codes of a manifest that was spoilt on the way, or came before the news of its blobs."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A blob and how it came, or would come, into the repository; from where if not from here."""

    blob: Descriptor
    outcome: Outcome
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Pushed(Reference):
    """A pushed image, and what of it was moved. `manifest` is the size of the manifest in bytes.

    `beside` counts the manifests about it, evidence and signatures, that came along.
    """

    tags: tuple[str, ...]
    moved: tuple[Moved, ...]
    manifest: int
    beside: int = 0

    def size(self, outcome: Outcome) -> int:
        """Bytes of the blobs that came in this way."""
        return sum(part.blob.size for part in self.moved if part.outcome is outcome)

    def count(self, outcome: Outcome) -> int:
        """Number of the blobs that came in this way."""
        return sum(1 for part in self.moved if part.outcome is outcome)


@dataclass(frozen=True, kw_only=True)
class Survey(Pushed):
    """What a push would do. `before` is what each tag names now; empty for a tag that is new."""

    before: dict[str, str]


def push(
    image: Image,
    store: Store,
    reference: str,
    *,
    schema2: bool = False,
    tags: Sequence[str] = (),
    progress: Progress,
    plain_http: bool = False,
    lender: Lender | None = None,
) -> Pushed:
    """Push the image under the tag of `reference` and under `tags`; where it is, by digest.

    The OCI manifest is pushed, or with `schema2` the Docker one. Plain HTTP is used for loopback
    registries, and for others only with `plain_http`. `lender` says where borrowed layers are.
    Raises UsageError for a wrong reference, EnvironmentLacks when the registry cannot be reached or
    refuses, HashMismatch when it keeps other bytes than those sent.
    """
    job = _prepare(
        image, store, reference, schema2=schema2, tags=tags, plain_http=plain_http, lender=lender
    )
    moved = _send_blobs(job, store, progress)
    tag_all(job.session, job.target, job.tags, job.manifest, store.read(job.manifest.digest))
    return Pushed(**job.described(), moved=moved)


def survey(
    image: Image,
    store: Store,
    reference: str,
    *,
    schema2: bool = False,
    tags: Sequence[str] = (),
    plain_http: bool = False,
    lender: Lender | None = None,
) -> Survey:
    """What `push` would do with the same arguments; nothing is changed. Raises as `push` does."""
    job = _prepare(
        image, store, reference, schema2=schema2, tags=tags, plain_http=plain_http, lender=lender
    )
    session, target = job.session, job.target

    def ask(blob: Descriptor) -> Moved:
        if has_blob(session, target.repository, blob):
            return Moved(blob=blob, outcome=Outcome.THERE)
        source = job.sources[blob.digest]
        if source and _mountable(session, source, blob):
            return Moved(blob=blob, outcome=Outcome.MOUNTED, source=source)
        if not store.has(blob.digest):
            return Moved(blob=blob, outcome=Outcome.COPIED, source=_place(job.lender))
        return Moved(blob=blob, outcome=Outcome.SENT)

    return Survey(
        **job.described(),
        moved=tuple(each(job.blobs, ask, session)),
        before={name: _digest_at(session, target, name) for name in job.tags},
    )


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A push that has been looked into: where it goes, and what of the image it moves."""

    session: Session
    target: Target
    tags: tuple[str, ...]
    manifest: Descriptor
    blobs: tuple[Descriptor, ...]
    sources: Mapping[str, str]
    """By a blob's digest: another repository that may have it, or nothing."""
    lender: Lender | None

    def described(self) -> dict[str, Any]:
        """What a `Pushed` says of it, but for what was moved."""
        return {
            "registry": self.target.registry,
            "repository": self.target.repository,
            "digest": self.manifest.digest,
            "tags": self.tags,
            "manifest": self.manifest.size,
        }


def _prepare(
    image: Image,
    store: Store,
    reference: str,
    *,
    schema2: bool,
    tags: Sequence[str],
    plain_http: bool,
    lender: Lender | None,
) -> _Job:
    """Everything that can be wrong before a blob is asked for is wrong here."""
    target = parse(reference)
    names = tuple(dict.fromkeys([target.tag, *(check_tag(tag) for tag in tags)]))
    manifest = image.schema2 if schema2 else image.manifest
    blobs = largest_first((image.config, *(layer.blob for layer in image.layers)))
    lent = lender.digests if lender else frozenset()
    for blob in (*blobs, manifest):
        if blob.digest not in lent and not store.has(blob.digest):
            raise EnvironmentLacks(
                f"the blob {blob.digest} is not in the store", hint="run `recipec build` again"
            )
    sources = {blob.digest: _mounted_from(store, target, blob, lender) for blob in blobs}
    return _Job(
        session=open_session(target, write=True, mounts=sources.values(), plain_http=plain_http),
        target=target,
        tags=names,
        manifest=manifest,
        blobs=blobs,
        sources=sources,
        lender=lender,
    )


def open_session(
    place: Target | Source, *, write: bool, mounts: Iterable[str] = (), plain_http: bool
) -> Session:
    """A session that may pull from a repository, already let in.

    With `write` it may push there too, and mount from the repositories in `mounts`.
    """
    others = sorted({*mounts} - {"", place.repository})
    session = Session(
        place.registry,
        scopes=(
            f"repository:{place.repository}:{'pull,push' if write else 'pull'}",
            *(f"repository:{other}:pull" for other in others),
        ),
        credential=credentials.find(place.registry, repository=place.repository),
        plain_http=plain_http,
    )
    greet(session)
    return session


def greet(session: Session) -> None:
    """Authenticate before any large body is sent, and make sure that this is a registry."""
    answer = session.request("GET", "/v2/")
    if answer.status in {401, 403}:
        if session.has_token:
            return  # a token for one repository need not open the door of all
        raise session.refusal(answer, "to talk")
    if answer.status != 200:
        raise EnvironmentLacks(
            f"{session.registry} is no registry: it answers /v2/ with status {answer.status}",
            hint="check the host and the port",
        )


def tag_all(
    session: Session, target: Target, names: Sequence[str], manifest: Descriptor, data: bytes
) -> None:
    """Put a manifest under its digest, prove that it is there, then give it its tags.

    Under a digest a registry checks what it gets, so bytes that were spoilt on the way never get a
    tag first. Raises EnvironmentLacks if the registry refuses, HashMismatch if it names or returns
    another digest.
    """
    put_manifest(session, target, manifest.digest, manifest, data)
    read_back(session, target, manifest)
    for name in names:
        put_manifest(session, target, name, manifest, data)


def put_manifest(
    session: Session, target: Target, name: str, manifest: Descriptor, data: bytes
) -> Answer:
    """Put the manifest under a tag, or under its digest; what the registry says of it.

    Raises EnvironmentLacks if it refuses, HashMismatch if it names another digest.
    """
    for attempt in range(MANIFEST_TRIES):
        answer = _put(session, target, name, manifest, data)
        if answer.status in {200, 201, 202}:
            found = answer.headers.get("Docker-Content-Digest", "") or manifest.digest
            if found != manifest.digest:
                # Once more, so that the tag does not stay where spoilt bytes have put it.
                _put(session, target, name, manifest, data)
                raise _changed(target, manifest, found)
            return answer
        if answer.status == 429 or said(answer)[0] not in _PASSING:
            break
        session.pause(attempt)
    # A tag that cannot be moved may be where it should be already.
    if ":" in name or _digest_at(session, target, name) != manifest.digest:
        raise session.refusal(answer, f"the manifest as {name}")
    return answer


def _put(session: Session, target: Target, name: str, manifest: Descriptor, data: bytes) -> Answer:
    return session.request(
        "PUT",
        f"/v2/{target.repository}/manifests/{name}",
        headers={"Content-Type": manifest.media_type},
        body=data,
    )


def read_back(session: Session, target: Target, manifest: Descriptor) -> None:
    """Raise HashMismatch unless the registry returns the very bytes of the manifest."""
    answer = session.request(
        "GET",
        f"/v2/{target.repository}/manifests/{manifest.digest}",
        headers={"Accept": manifest.media_type},
    )
    if answer.status != 200:
        raise session.refusal(answer, "to return the manifest")
    found = sha256(answer.data)
    if found != manifest.digest:
        raise _changed(target, manifest, found)


def remember(store: Store, registry: str, repository: str, digest: str) -> None:
    """Keep in the store's records that a repository has a blob: others can mount it from there."""
    store.put_record(SEEN, f"{registry} {digest}", {"repository": repository})


def _send_blobs(job: _Job, store: Store, progress: Progress) -> tuple[Moved, ...]:
    target = job.target
    task = progress.begin(f"pushing to {target.registry}", sum(blob.size for blob in job.blobs))
    lending = Lending(job.lender, open_session)

    def send(blob: Descriptor) -> Moved:
        upload = Upload(
            job.session,
            target.repository,
            blob,
            lambda: store.path(blob.digest) if store.has(blob.digest) else lending.content(blob),
            lambda amount: progress.advance(task, amount),
        )
        source = job.sources[blob.digest]
        outcome = upload.run(mount_from=source)
        remember(store, target.registry, target.repository, blob.digest)
        places = {Outcome.MOUNTED: source, Outcome.COPIED: _place(job.lender)}
        return Moved(blob=blob, outcome=outcome, source=places.get(outcome, ""))

    try:
        moved = each(job.blobs, send, job.session)
    except BaseException:
        lending.stop()
        raise
    progress.end(task)
    return tuple(moved)


def _mounted_from(store: Store, target: Target, blob: Descriptor, lender: Lender | None) -> str:
    """Another repository of the same registry that has the blob, as far as we know, or nothing."""
    lent = lender.repository_of(blob, target.registry) if lender else ""
    record = store.record(SEEN, f"{target.registry} {blob.digest}")
    known = str(record.get("repository", "")) if isinstance(record, dict) else ""
    found = lent or known
    return found if found != target.repository else ""


def _place(lender: Lender | None) -> str:
    return lender.source.place if lender else ""


def _mountable(session: Session, repository: str, blob: Descriptor) -> bool:
    """Whether another repository has the blob; no, too, if we may not ask it."""
    if quirks_of(session.registry).mount == "no":
        return False
    try:
        return has_blob(session, repository, blob)
    except EnvironmentLacks:
        return False


def _digest_at(session: Session, target: Target, tag: str) -> str:
    """The digest of the manifest that a tag names, or nothing."""
    answer = session.request(
        "HEAD",
        f"/v2/{target.repository}/manifests/{tag}",
        headers={"Accept": ACCEPT},
    )
    return answer.headers.get("Docker-Content-Digest", "") if answer.status == 200 else ""


def _changed(target: Target, manifest: Descriptor, found: str) -> HashMismatch:
    return HashMismatch(
        f"the manifest in {target.registry}/{target.repository}",
        expected=manifest.digest,
        found=found,
        hint="the registry, or something before it, rewrites manifests; try --schema2",
    )
