"""Which Debian archives the user has configured, turned to the target's release.

In: apt's configuration folder and a few variables. Out: archives, and how to reach them. It asks
no network, changes nothing on the host, and has no mirror of its own.

The host may be another release, or no Debian at all: only the mirrors are taken from it, and each
of its Debian suites is read as the same suite of the target (`trixie-updates` as
`bookworm-updates`). `RECIPEC_APT_MIRROR` replaces what apt is told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from recipec.errors import EnvironmentLacks
from recipec.pins.transport import Access, Credential, without_password

APT_FOLDER = Path("/etc/apt")
KEYRINGS = tuple(
    Path("/usr/share/keyrings") / f"debian-archive-keyring.{suffix}" for suffix in ("gpg", "pgp")
)
_RELEASES = (
    "oldoldstable|oldstable|stable|testing|unstable|sid|buster|bullseye|bookworm|trixie|forky|duke"
)
_SUITE = re.compile(rf"(?:{_RELEASES})(?P<pocket>-updates|-security)?")


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One suite of one mirror. `uri` has no password."""

    uri: str
    suite: str
    components: tuple[str, ...]
    keyrings: tuple[Path, ...] = ()
    key: str = ""
    """An armoured public key that stands in the configuration itself."""
    debian_keys: bool = False
    """Whether the keys of Debian's archives that recipec carries count too: where the configuration
    names no key or Debian's own keyring, which this host may lack or have in an old version."""
    trusted: bool = False
    """The user asked for no signature check."""
    optional: bool = False
    """Whether a mirror without this suite is fine."""
    official: bool = True
    """Whether only an archive that says `Origin: Debian` counts."""


@dataclass(frozen=True, kw_only=True)
class DebSources:
    """The archives to ask, in order, and how to reach them. Holds passwords: never print it."""

    archives: tuple[Archive, ...]
    access: Access = field(repr=False)


def deb_sources(
    debian: str, environ: Mapping[str, str] | None = None, *, folder: Path = APT_FOLDER
) -> DebSources:
    """The archives of release `debian` at the user's mirrors.

    Raises EnvironmentLacks when no Debian mirror is configured.
    """
    environ = os.environ if environ is None else environ
    named = environ.get("RECIPEC_APT_MIRROR", "").split()
    if named:
        found = [archive for uri in named for archive in _mirror(uri, debian, environ)]
    else:
        found = [_turned(archive, debian) for archive in _configured(folder)]
    if not found:
        raise EnvironmentLacks(
            "no Debian mirror is configured: the image's base packages come from one",
            hint="set RECIPEC_APT_MIRROR to the URL of a Debian mirror, such as"
            " http://mirror.example/debian; several are separated by spaces",
        )
    clean = [replace(archive, uri=without_password(archive.uri)) for archive in found]
    return DebSources(
        archives=tuple(dict.fromkeys(clean)),
        access=Access(
            certificates=environ.get("SSL_CERT_FILE")
            or environ.get("REQUESTS_CA_BUNDLE")
            or environ.get("CURL_CA_BUNDLE"),
            proxy=_proxy(folder),
            credentials=(*_in_urls(found), *_auth_files(folder)),
        ),
    )


def _mirror(uri: str, debian: str, environ: Mapping[str, str]) -> Iterator[Archive]:
    """The suites of a mirror that the user named; one called `…security` holds that suite only."""
    keyring = environ.get("RECIPEC_APT_KEYRING", "")
    archive = Archive(
        uri=uri.rstrip("/"),
        suite=debian,
        components=("main",),
        keyrings=(Path(keyring),) if keyring else KEYRINGS,
        debian_keys=not keyring,
        trusted=keyring == "none",
        official=False,
    )
    if urlsplit(uri).path.rstrip("/").endswith("security"):
        yield replace(archive, suite=f"{debian}-security")
    else:
        yield archive
        yield replace(archive, suite=f"{debian}-updates", optional=True)


def _turned(archive: Archive, debian: str) -> Archive:
    found = _SUITE.fullmatch(archive.suite)
    pocket = (found["pocket"] or "") if found else ""
    return replace(archive, suite=debian + pocket, components=("main",), optional=bool(pocket))


def _configured(folder: Path) -> Iterator[Archive]:
    """Every Debian suite with component `main` in sources.list and sources.list.d."""
    parts = folder / "sources.list.d"
    files = [folder / "sources.list"]
    files += sorted(parts.glob("*.list")) + sorted(parts.glob("*.sources"))
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        read = _deb822 if file.suffix == ".sources" else _one_line
        for archive in read(text, folder):
            if _SUITE.fullmatch(archive.suite) and "main" in archive.components:
                yield archive


def _deb822(text: str, folder: Path) -> Iterator[Archive]:
    for stanza in stanzas(text):
        if stanza.get("enabled", "yes").strip().lower() in {"no", "false", "0", "off"}:
            continue
        if "deb" not in stanza.get("types", "").split():
            continue
        signed = stanza.get("signed-by", "").strip()
        inline = "BEGIN PGP PUBLIC KEY" in signed
        keyrings = () if inline else _keyrings(signed, folder)
        for uri in _expanded(stanza.get("uris", "").split()):
            for suite in stanza.get("suites", "").split():
                yield Archive(
                    uri=uri,
                    suite=suite,
                    components=tuple(stanza.get("components", "").split()),
                    keyrings=keyrings,
                    key=signed if inline else "",
                    debian_keys=bool({*keyrings} & {*KEYRINGS}),
                    trusted=stanza.get("trusted", "").strip().lower() == "yes",
                )


def _one_line(text: str, folder: Path) -> Iterator[Archive]:
    for line in text.splitlines():
        found = re.fullmatch(
            r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<rest>.*)",
            line.partition("#")[0],
        )
        if not found:
            continue
        options = dict(option.partition("=")[::2] for option in (found["options"] or "").split())
        keyrings = _keyrings(options.get("signed-by", ""), folder)
        for uri in _expanded([found["uri"]]):
            yield Archive(
                uri=uri,
                suite=found["suite"],
                components=tuple(found["rest"].split()),
                keyrings=keyrings,
                debian_keys=bool({*keyrings} & {*KEYRINGS}),
                trusted=options.get("trusted", "").lower() == "yes",
            )


def _expanded(uris: list[str]) -> Iterator[str]:
    """URIs that we can read; a `mirror+file:` list is replaced by its lines."""
    for uri in uris:
        scheme = uri.partition(":")[0]
        if scheme == "mirror+file":
            try:
                lines = Path(urlsplit(uri).path).read_text(encoding="utf-8").splitlines()
            except OSError:
                continue
            yield from _expanded([line.split()[0] for line in lines if line.split()])
        elif scheme in {"http", "https"}:
            yield uri.rstrip("/")
        elif scheme in {"file", "copy"}:
            yield "file://" + urlsplit(uri).path.rstrip("/")


def _keyrings(signed_by: str, folder: Path) -> tuple[Path, ...]:
    """The keyrings of `Signed-By`, or every one that apt trusts in general."""
    named = [Path(part) for part in re.split(r"[,\s]+", signed_by) if part.startswith("/")]
    if named:
        return tuple(named)
    general = [folder / "trusted.gpg"]
    general += sorted(p for p in folder.glob("trusted.gpg.d/*") if p.suffix in {".gpg", ".asc"})
    return (*KEYRINGS, *general)


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of an RFC 822-like file, field names in lower case."""
    current: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            if current:
                yield current
            current, name = {}, ""
        elif line[0] in " \t":
            # A lone dot stands for an empty line inside a field.
            current[name] = f"{current.get(name, '')}\n{'' if line.strip() == '.' else line[1:]}"
        else:
            field_name, _, value = line.partition(":")
            name = field_name.strip().lower()
            current[name] = value.strip()
    if current:
        yield current


def _proxy(folder: Path) -> str | None:
    """apt's own proxy for http, in its usual one-line form."""
    for file in [folder / "apt.conf", *sorted((folder / "apt.conf.d").glob("*"))]:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        found = re.search(r'^\s*Acquire::https?::Proxy\s+"([^"]+)"', text, re.MULTILINE | re.I)
        if found and found[1] not in {"DIRECT", "false"}:
            return found[1]
    return None


def _in_urls(archives: list[Archive]) -> Iterator[Credential]:
    for archive in archives:
        parts = urlsplit(archive.uri)
        if parts.username:
            host = parts.netloc.rpartition("@")[2]
            yield Credential(host=host, user=parts.username, password=parts.password or "")


def _auth_files(folder: Path) -> Iterator[Credential]:
    """auth.conf and auth.conf.d: `machine HOST[/PATH] login USER password WORD`."""
    for file in [folder / "auth.conf", *sorted((folder / "auth.conf.d").glob("*.conf"))]:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for found in re.finditer(r"machine\s+(\S+)\s+login\s+(\S+)\s+password\s+(\S+)", text):
            host = found[1].partition("://")[2] or found[1]
            yield Credential(host=host.partition("/")[0], user=found[2], password=found[3])
