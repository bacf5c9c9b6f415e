"""What packages say of their own licences.

In: wheels and Debian packages in the store. Out: a `Package` for each, remembered in the store
under the package's digest. Words are taken as the packages write them: nothing is guessed, and a
package that says nothing has no licence here.

Sources: PEP 639 and "Core metadata specifications" (License-Expression, Classifier, License);
Debian's "Machine-readable debian/copyright file", version 1.0.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from recipec.errors import EnvironmentLacks
from recipec.image.debs import Entry, read_deb
from recipec.image.zipfiles import ZipFile
from recipec.pins.lockfile import Deb, Wheel
from recipec.store import Store, make_folder

RECORDS = "licenses"
_LONGEST = 120
"""Characters of a License field beyond which it is a text, not a name."""
_DEP5 = re.compile(r"\AFormat(-Specification)?:[^\n]*(copyright-format|dep5)", re.IGNORECASE)
_DOC = "usr/share/doc/"


@dataclass(frozen=True, kw_only=True)
class About:
    """What a package says: one SPDX expression, or names in any words; its source package."""

    expression: str = ""
    names: tuple[str, ...] = ()
    source: str = ""


def of_wheels(wheels: Sequence[Wheel], store: Store) -> dict[str, About]:
    """What each wheel says, by the wheel's digest. Raises EnvironmentLacks if one is gone."""
    found = {}
    for wheel in wheels:
        known = _recall(store, wheel.sha256)
        if known is None:
            known = _of_wheel(_path(store, wheel.sha256, wheel.file), wheel.file)
            _remember(store, wheel.sha256, known)
        found[wheel.sha256] = known
    return found


def of_debs(debs: Sequence[Deb], store: Store) -> dict[str, About]:
    """What each Debian package says, by the package's digest.

    A package whose documents are a link to another's has that one's licences. Raises
    EnvironmentLacks if a package is gone from the store.
    """
    plain: dict[str, dict[str, str]] = {}
    for deb in debs:
        record = store.record(RECORDS, deb.sha256)
        if not isinstance(record, dict):
            record = _read_copyright(_path(store, deb.sha256, deb.file), deb, store)
            store.put_record(RECORDS, deb.sha256, record)
        plain[deb.package] = record
    return {
        deb.sha256: About(
            names=_copyright_names(_followed(plain, deb.package)),
            source=plain[deb.package].get("source", ""),
        )
        for deb in debs
    }


def _path(store: Store, digest: str, name: str) -> Path:
    if not store.has(digest):
        raise EnvironmentLacks(
            f"{name} is no longer in the cache", hint="`recipec lock` fetches what is pinned"
        )
    return store.path(digest)


def _recall(store: Store, digest: str) -> About | None:
    record = store.record(RECORDS, digest)
    if not isinstance(record, dict):
        return None
    return About(expression=record["expression"], names=tuple(record["names"]))


def _remember(store: Store, digest: str, about: About) -> None:
    plain = {"expression": about.expression, "names": list(about.names)}
    store.put_record(RECORDS, digest, plain)


def _of_wheel(path: Path, name: str) -> About:
    """From METADATA: the expression; else the classifiers; else a License field of one line."""
    from email.parser import HeaderParser

    with ZipFile(path, name) as wheel:
        member = next(m for m in wheel.members if _is_metadata(m.name))
        text = wheel.read(member).decode("utf-8", "replace")
    fields = HeaderParser().parsestr(text)
    expression = str(fields.get("License-Expression", "")).strip()
    if expression:
        return About(expression=expression)
    lead = "License :: "
    classifiers = [str(c).strip() for c in fields.get_all("Classifier", [])]
    names = {c.rpartition(" :: ")[2] for c in classifiers if c.startswith(lead)}
    names.discard("OSI Approved")
    written = str(fields.get("License", "")).strip()
    if not names and written and "\n" not in written and len(written) <= _LONGEST:
        names = {written}
    return About(names=tuple(sorted(names - {"UNKNOWN"})))


def _is_metadata(name: str) -> bool:
    folder, _, file = name.partition("/")
    return folder.endswith(".dist-info") and file == "METADATA"


def _read_copyright(path: Path, deb: Deb, store: Store) -> dict[str, str]:
    """The copyright file's text, or the package that its documents are linked to."""
    with tempfile.TemporaryFile(dir=make_folder(store.root / "tmp")) as spool:
        handle = cast("BinaryIO", spool)
        package = read_deb(path, deb.file, handle)
        by_path = {entry.path: entry for entry in package.entries}
        folder = by_path.get(f"{_DOC}{deb.package}")
        record = {"source": _source(package.control)}
        if folder is not None and folder.kind == "symlink":
            record["link"] = folder.target.rstrip("/").rpartition("/")[2]
        else:
            file = by_path.get(f"{_DOC}{deb.package}/copyright")
            record["names"] = "\n".join(_short_names(_text(file, handle)))
    return record


def _text(entry: Entry | None, spool: BinaryIO) -> str:
    if entry is None or entry.contents is None:
        return ""
    return b"".join(entry.contents.chunks(spool)).decode("utf-8", "replace")


def _source(control: str) -> str:
    """The source package's name, where the control stanza says that it is another."""
    found = re.search(r"^Source:[ \t]*(\S+)", control, re.MULTILINE)
    return found[1] if found else ""


def _short_names(text: str) -> list[str]:
    """The short names of the licences in a machine-readable copyright file, sorted."""
    if not _DEP5.search(text):
        return []
    rows = re.findall(r"^License:[ \t]*(\S[^\n]*?)[ \t]*$", text, re.MULTILINE | re.IGNORECASE)
    return sorted({row for row in rows if len(row) <= _LONGEST})


def _followed(plain: Mapping[str, Mapping[str, str]], package: str) -> Mapping[str, str]:
    record: Mapping[str, str] = plain[package]
    for _ in plain:  # a chain of links has no more parts than there are packages
        if "link" not in record:
            break
        record = plain.get(record["link"], {})
    return record


def _copyright_names(record: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in record.get("names", "").split("\n") if name)
