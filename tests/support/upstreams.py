"""Real upstreams for tests: a server that can misbehave, wheels, an index, a Debian mirror."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recipec.store import sha256


@dataclass
class Site:
    """What a test server has, and how it misbehaves. Paths start with a slash."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range header of every request, in order."""
    authorizations: list[str] = field(default_factory=list)
    """The Authorization header of every request, in the same order."""
    failures: dict[str, list[int]] = field(default_factory=dict)
    """Statuses to answer first, by path, before the file itself."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """Numbers of body bytes after which the connection is cut, by path, before a whole answer."""
    stalls: dict[str, int] = field(default_factory=dict)
    """Numbers of body bytes after which the first answer to recipec waits for `go`, by path."""
    go: threading.Event = field(default_factory=threading.Event)
    ranges: bool = True
    """Whether Range is understood."""
    password: str | None = None
    """`user:password` that every request must bring."""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Headers of an answer beside the usual ones, by path."""
    base: str = ""

    def asked(self, path: str) -> int:
        """How many GETs for a path there were."""
        return sum(1 for method, found, _ in self.requests if (method, found) == ("GET", path))


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Serve `site` on a free loopback port; its URL without a slash is in `site.base`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(site, self, body=True)

        def do_HEAD(self) -> None:
            _answer(site, self, body=False)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    site.base = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def _answer(site: Site, handler: http.server.BaseHTTPRequestHandler, *, body: bool) -> None:
    path = unquote(urlsplit(handler.path).path)
    wanted = handler.headers.get("Range", "")
    site.requests.append((handler.command, path, wanted))
    site.authorizations.append(handler.headers.get("Authorization", ""))
    status, data = _chosen(site, handler, path)
    start = 0
    if status == 200 and wanted and site.ranges:
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        status = 206 if start < len(data) else 416
    part = data[start:] if status in {200, 206} else b""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(part)))
    if status == 206:
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    if path.endswith("/"):
        handler.send_header("Content-Type", "text/html")
    if status == 401:
        handler.send_header("WWW-Authenticate", 'Basic realm="test"')
    for name, value in site.headers.get(path, {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    ours = handler.headers.get("User-Agent") == "recipec"
    if body and ours and path in site.stalls:
        sent = site.stalls.pop(path)
        handler.wfile.write(part[:sent])
        handler.wfile.flush()
        site.go.wait(30)
        part = part[sent:]
    cut = site.cuts.get(path) if body and status in {200, 206} else None
    if body:
        handler.wfile.write(part[: cut.pop(0)] if cut else part)
    if cut is not None and path in site.cuts:
        if not site.cuts[path]:
            del site.cuts[path]
        handler.close_connection = True
        handler.wfile.flush()
        handler.connection.close()


def _chosen(
    site: Site, handler: http.server.BaseHTTPRequestHandler, path: str
) -> tuple[int, bytes]:
    if site.password is not None:
        expected = "Basic " + base64.b64encode(site.password.encode()).decode()
        if handler.headers.get("Authorization") != expected:
            return 401, b""
    if site.failures.get(path):
        return site.failures[path].pop(0), b""
    if path not in site.files:
        return 404, b""
    return 200, site.files[path]


def wheel_bytes(
    name: str,
    version: str,
    *,
    needs: Sequence[str] = (),
    tag: str = "py3-none-any",
    files: Mapping[str, bytes] | None = None,
    license: str = "",
    deflated: bool = False,
) -> bytes:
    """A small wheel that pip and uv take."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"License-Expression: {license}\n" if license else ""
    metadata += "".join(f"Requires-Dist: {need}\n" for need in needs)
    members = {
        f"{name}/__init__.py": f"version = {version!r}\n".encode(),
        **(files or {}),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: t\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{path},,\n" for path in members) + f"{info}/RECORD,,\n"
    members[f"{info}/RECORD"] = record.encode()
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w") as archive:
        for path, data in members.items():
            archive.writestr(zipfile.ZipInfo(path), data, kind)
    return out.getvalue()


def wheel_file(name: str, version: str, tag: str = "py3-none-any") -> str:
    """The file name of a wheel."""
    return f"{name}-{version}-{tag}.whl"


def index_files(wheels: Mapping[str, bytes], *, hashes: bool = True) -> dict[str, bytes]:
    """A simple index of wheels by file name, as paths of a site: /simple/NAME/ and /files/FILE."""
    files = {f"/files/{name}": data for name, data in wheels.items()}
    packages: dict[str, list[str]] = {}
    for name, data in wheels.items():
        digest = f"#sha256={hashlib.sha256(data).hexdigest()}" if hashes else ""
        href = name.replace("+", "%2B")
        line = f'<a href="../../files/{href}{digest}">{name}</a><br>'
        packages.setdefault(name.partition("-")[0].replace("_", "-"), []).append(line)
    for package, lines in packages.items():
        page = "<!DOCTYPE html><html><body>" + "".join(lines) + "</body></html>"
        files[f"/simple/{package}/"] = page.encode()
    return files


def write_index(folder: Path, wheels: Mapping[str, bytes]) -> str:
    """The same index as a folder tree; its file:// URL."""
    for path, data in index_files(wheels).items():
        place = folder / path.strip("/")
        if path.endswith("/"):
            place = place / "index.html"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return (folder / "simple").as_uri()


def deb_bytes(package: str, version: str) -> bytes:
    """A .deb: an ar archive of its version, its control file and one data file."""
    control = f"Package: {package}\nVersion: {version}\nArchitecture: amd64\n".encode()
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar({"./control": control}),
        "data.tar.gz": _tar({f"./usr/share/{package}": version.encode()}),
    }
    out = b"!<arch>\n"
    for name, data in parts.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        out += b"\n" * (len(data) % 2)
    return out


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)


def mirror_files(
    packages: Mapping[str, str],
    *,
    suite: str = "bookworm",
    origin: str = "Debian",
    root: str = "/debian",
    by_hash: bool = False,
    sign: Signer | None = None,
    fields: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """A Debian mirror of one suite: package to version, as paths of a site.

    `fields` are more lines of a package's stanza, such as `Depends: libc6`.
    """
    files: dict[str, bytes] = {}
    index = ""
    for package, version in packages.items():
        data = deb_bytes(package, version)
        plain = version.partition(":")[2] or version
        place = f"pool/main/{package[0]}/{package}/{package}_{plain}_amd64.deb"
        files[f"{root}/{place}"] = data
        index += (
            f"Package: {package}\nVersion: {version}\nArchitecture: amd64\nFilename: {place}\n"
            f"Size: {len(data)}\nSHA256: {sha256(data).removeprefix('sha256:')}\n"
            + "".join(f"{line}\n" for line in (fields or {}).get(package, "").splitlines())
            + "Description: a test\n package of .\n .\n several lines\n\n"
        )
    packed = lzma.compress(index.encode())
    digest = hashlib.sha256(packed).hexdigest()
    folder = f"{root}/dists/{suite}/main/binary-amd64"
    place = f"{folder}/by-hash/SHA256/{digest}" if by_hash else f"{folder}/Packages.xz"
    files[place] = packed
    release = (
        f"Origin: {origin}\nSuite: oldstable\nCodename: {suite}\n"
        f"Acquire-By-Hash: {'yes' if by_hash else 'no'}\nSHA256:\n"
        f" {digest} {len(packed):>8} main/binary-amd64/Packages.xz\n"
    ).encode()
    files[f"{root}/dists/{suite}/InRelease"] = sign.clear(release) if sign else release
    return files


class Signer:
    """A throw-away OpenPGP key; needs gpg, which Debian always has."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "gnupg"
        self._home.mkdir(mode=0o700)
        self.keyring = folder / "keyring.gpg"
        self._gpg("--quick-generate-key", "Test Archive <test@archive.example>", "ed25519", "sign")
        self.keyring.write_bytes(self._gpg("--export"))
        self.armoured = self._gpg("--armor", "--export").decode()

    def clear(self, text: bytes) -> bytes:
        """`text` clear-signed."""
        return self._gpg("--clear-sign", "--output", "-", stdin=text)

    def close(self) -> None:
        """Stop the agent that gpg has started."""
        if shutil.which("gpgconf"):
            environment = {**os.environ, "GNUPGHOME": str(self._home)}
            subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self._home), "--batch", "--quiet"]
        command += ["--pinentry-mode", "loopback", "--passphrase", "", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout
