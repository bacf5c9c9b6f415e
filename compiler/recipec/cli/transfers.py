"""What `push` and `copy` print: where an image is now, and how its blobs came there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recipec.cli.console import print_json, say, size, table

if TYPE_CHECKING:
    from recipec.publish.registry import Pushed, Survey

_DONE = {"there": "is there", "mounted": "mounted", "sent": "sent", "copied": "copied"}
_TO_DO = {"there": "is there", "mounted": "mount", "sent": "send", "copied": "copy"}


def report(pushed: Pushed, *, as_json: bool, done: str) -> None:
    """Print where the image is, and what was moved."""
    name = f"{pushed.registry}/{pushed.repository}@{pushed.digest}"
    if as_json:
        print_json({"reference": name, "digest": pushed.digest, **_plain(pushed)})
        return
    say(f"{done}: {_summary(pushed, _DONE)}")
    if pushed.beside:
        say(f"with it: {pushed.beside} manifests of evidence and signatures")
    say("use it by digest, which never moves:")
    print(name)


def report_survey(found: Survey, *, as_json: bool) -> None:
    """Print what a push would move, and what its tags name now."""
    name = f"{found.registry}/{found.repository}@{found.digest}"
    if as_json:
        blobs = [
            {
                "digest": part.blob.digest,
                "size": part.blob.size,
                "action": part.outcome.value,
                **({"from": part.source} if part.source else {}),
            }
            for part in found.moved
        ]
        tags = {tag: digest or None for tag, digest in found.before.items()}
        plain = {"digest": found.digest, **_plain(found), "blobs": blobs, "tags_now": tags}
        print_json({"reference": name, "dry_run": True, **plain})
        return
    rows = [
        [
            part.blob.digest[:19],
            size(part.blob.size),
            _TO_DO[part.outcome.value] + (f" from {part.source}" if part.source else ""),
        ]
        for part in found.moved
    ]
    print(table("", rows, head=("blob", "size", "what a push does")))
    for tag, before in found.before.items():
        state = "new" if not before else "as it is" if before == found.digest else f"now {before}"
        print(f"  tag {tag}: {state}")
    say(f"a push would: {_summary(found, _TO_DO)}; nothing was changed")


def _plain(pushed: Pushed) -> dict[str, object]:
    from recipec.publish.upload import Outcome

    moved = {
        kind.value: {"blobs": pushed.count(kind), "bytes": pushed.size(kind)}
        for kind in Outcome
        if kind is not Outcome.COPIED or pushed.count(kind)
    }
    beside = {"evidence": pushed.beside} if pushed.beside else {}
    return {"tags": list(pushed.tags), "moved": moved, "manifest_bytes": pushed.manifest, **beside}


def _summary(pushed: Pushed, words: dict[str, str]) -> str:
    """`send 3 blobs (4.1 KB), mount 2 (...)`: what there was none of is left out."""
    from recipec.publish.upload import Outcome

    parts = [
        f"{words[kind.value]} {pushed.count(kind)} ({size(pushed.size(kind))})"
        for kind in (Outcome.SENT, Outcome.COPIED, Outcome.MOUNTED, Outcome.THERE)
        if pushed.count(kind)
    ]
    return f"of {len(pushed.moved)} blobs " + ", ".join(parts)
