"""The signature of a Debian archive's InRelease file, checked by gpgv where it is installed.

In: the file's bytes and the archive with its keyrings. Out: the text that was signed, and a notice
when nobody checked it. It trusts no key that the configuration does not name.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from recipec.errors import MISMATCH, RecipecError
from recipec.pins.aptconf import Archive
from recipec.pins.transport import shown

_BEGIN, _SIGNATURE = "-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP SIGNATURE-----"


class UntrustedIndex(RecipecError):
    """A Debian archive's index is not signed by a trusted key."""

    exit_code = MISMATCH


def signed_text(raw: bytes, archive: Archive) -> tuple[str, str]:
    """The signed text of an InRelease file, and a notice if its signature was not checked.

    Raises UntrustedIndex when it could be checked and does not hold.
    """
    where = f"{shown(archive.uri)} {archive.suite}"
    if archive.trusted:
        return _unarmoured(raw), f"{where}: signature not checked, as configured"
    keyrings = [keyring for keyring in archive.keyrings if keyring.is_file()]
    if not keyrings and not archive.key:
        return _unarmoured(raw), (
            f"{where}: signature not checked, no keyring: install debian-archive-keyring or name"
            " one in RECIPEC_APT_KEYRING"
        )
    gpgv = shutil.which("gpgv")
    if gpgv is None:
        return _unarmoured(raw), f"{where}: signature not checked, gpgv is missing: install gpgv"
    return _verified(gpgv, raw, archive, keyrings, where), ""


def _verified(gpgv: str, raw: bytes, archive: Archive, keyrings: list[Path], where: str) -> str:
    with tempfile.TemporaryDirectory(prefix="recipec-") as name:
        folder = Path(name)
        signed, text = folder / "InRelease", folder / "text"
        signed.write_bytes(raw)
        command = [gpgv, "--homedir", name, "--output", str(text), "--status-fd", "1"]
        keys = [keyring.read_bytes() for keyring in keyrings]
        keys += [archive.key.encode()] if archive.key else []
        for number, key in enumerate(keys):
            # gpgv reads binary keyrings only.
            (folder / f"{number}.gpg").write_bytes(_dearmoured(key))
            command += ["--keyring", str(folder / f"{number}.gpg")]
        done = subprocess.run(
            [*command, str(signed)], capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode or "VALIDSIG" not in done.stdout or not text.is_file():
            raise UntrustedIndex(
                f"{where}: the archive's index is not signed by a trusted key"
                f" ({_reason(done.stdout)})",
                hint="check the mirror, and the keyring in Signed-By or RECIPEC_APT_KEYRING; never"
                " use packages of an archive whose signature does not hold",
            )
        return text.read_text(encoding="utf-8")


def _reason(status: str) -> str:
    for word, meaning in (
        ("BADSIG", "the signature does not fit the text"),
        ("EXPKEYSIG", "the key has expired"),
        ("REVKEYSIG", "the key was revoked"),
        ("NO_PUBKEY", "the keyring lacks the signer's key"),
    ):
        if word in status:
            return meaning
    return "no valid signature"


def _unarmoured(raw: bytes) -> str:
    """The text of a clear-signed file, or the file itself if it is not signed."""
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    if not text.startswith(_BEGIN):
        return text
    body = text.partition("\n\n")[2].partition(_SIGNATURE)[0]
    return re.sub(r"^- ", "", body, flags=re.MULTILINE)


def _dearmoured(key: bytes) -> bytes:
    """A public key in binary, from its armoured text or as it is."""
    text = key.decode("ascii", "ignore")
    if "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in text:
        return key
    # Each block: headers, an empty line, base64, and a checksum line that starts with `=`.
    blocks = re.findall(
        r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(?:[^\n]+: [^\n]*\n)*\s*\n(.*?)"
        r"-----END PGP PUBLIC KEY BLOCK-----",
        text.replace("\r\n", "\n"),
        re.DOTALL,
    )
    try:
        return b"".join(base64.b64decode(re.sub(r"\n=\S{4}\s*$", "", b.rstrip())) for b in blocks)
    except binascii.Error:
        return key
