"""The signature of a Debian archive's InRelease file, checked on any host.

In: the file's bytes and the archive with its keyrings. Out: the text that was signed, and a notice
when the user asked for no check. It trusts the keys that the configuration names, and where that
names Debian's own or none, the keys of Debian's archives that recipec carries. No gpgv is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recipec.catalog.debian import archive_keys
from recipec.errors import MISMATCH, EnvironmentLacks, RecipecError
from recipec.pins.aptconf import Archive
from recipec.pins.transport import shown

if TYPE_CHECKING:
    from pysequoia import Cert

_BEGIN, _SIGNATURE = "-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP SIGNATURE-----"
_KEYRING_HINT = (
    "correct Signed-By in apt's configuration, or RECIPEC_APT_KEYRING; `none` skips the check"
)


class UntrustedIndex(RecipecError):
    """A Debian archive's index is not signed by a trusted key."""

    exit_code = MISMATCH


def signed_text(raw: bytes, archive: Archive) -> tuple[str, str]:
    """The signed text of an InRelease file, and a notice if its signature was not checked.

    Raises UntrustedIndex when it does not hold, EnvironmentLacks when there is no key to check it.
    """
    where = f"{shown(archive.uri)} {archive.suite}"
    if archive.trusted:
        return _unarmoured(raw), f"{where}: signature not checked, as configured"
    return _verified(raw, list(_keys(archive, where)), where), ""


def _keys(archive: Archive, where: str) -> Iterator[Cert]:
    """Every certificate that the archive may be signed by."""
    rings = [(str(path), path.read_bytes()) for path in archive.keyrings if path.is_file()]
    if archive.key:
        rings.append(("the key in apt's configuration", archive.key.encode()))
    if archive.debian_keys:
        rings.append(("recipec's own copy of Debian's keys", archive_keys()))
    if not rings:
        named = ", ".join(str(path) for path in archive.keyrings) or "no keyring"
        raise EnvironmentLacks(
            f"{where}: its signature cannot be checked: there is no keyring {named}",
            hint=_KEYRING_HINT,
        )
    from pysequoia import Cert

    for name, data in rings:
        try:
            yield from Cert.split_bytes(data)
        except RuntimeError as error:
            raise EnvironmentLacks(
                f"{where}: {name} is no OpenPGP keyring: {_first_line(error)}", hint=_KEYRING_HINT
            ) from error


def _verified(raw: bytes, certificates: list[Cert], where: str) -> str:
    from pysequoia import verify

    signers: list[str] = []

    def known(issuers: list[str]) -> list[Cert]:
        signers.extend(issuers)
        return certificates

    try:
        signed = verify(bytes=raw, store=known)
        text = (signed.bytes or b"").decode("utf-8")
    except (RuntimeError, UnicodeDecodeError) as error:
        raise _untrusted(where, _reason(signers, certificates)) from error
    if not signed.valid_sigs:
        raise _untrusted(where, _reason(signers, certificates))
    return text


def _untrusted(where: str, reason: str) -> UntrustedIndex:
    return UntrustedIndex(
        f"{where}: the archive's index is not signed by a trusted key ({reason})",
        hint="check the mirror, and the keyring in Signed-By or RECIPEC_APT_KEYRING; never"
        " use packages of an archive whose signature does not hold",
    )


def _reason(signers: list[str], certificates: list[Cert]) -> str:
    """Why it does not hold. `signers` are fingerprints or key ids, as the signatures name them."""
    if not signers:
        return "no valid signature"
    there = [
        certificate
        for certificate in certificates
        if any(key.endswith(signer) for key in _fingerprints(certificate) for signer in signers)
    ]
    if not there:
        return "the keyring lacks the signer's key"
    if all(certificate.is_revoked for certificate in there):
        return "the key was revoked"
    if all(_expired(certificate) for certificate in there):
        return "the key has expired"
    return "the signature does not fit the text"


def _fingerprints(certificate: Cert) -> list[str]:
    """Of the key and its subkeys, in lower-case hex digits."""
    from pysequoia.packet import PacketPile

    packets = PacketPile.from_bytes(bytes(certificate))
    return [packet.fingerprint for packet in packets if packet.fingerprint]


def _expired(certificate: Cert) -> bool:
    from datetime import UTC, datetime

    until = certificate.expiration
    return until is not None and until < datetime.now(UTC)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _unarmoured(raw: bytes) -> str:
    """The text of a clear-signed file, or the file itself if it is not signed."""
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    if not text.startswith(_BEGIN):
        return text
    body = text.partition("\n\n")[2].partition(_SIGNATURE)[0]
    return re.sub(r"^- ", "", body, flags=re.MULTILINE)
