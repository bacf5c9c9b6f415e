"""Key files for signing, as cosign writes and reads them.

In: PEM files and a password. Out: signatures over bytes, and whether a signature holds: ECDSA on
P-256 with SHA-256. Signing is deterministic (RFC 6979), so the same key over the same bytes gives
the same signature. Keys and passwords are in no repr, no message and no log.

A private key is `ENCRYPTED SIGSTORE PRIVATE KEY`: JSON that names scrypt's parameters and a NaCl
secretbox over the PKCS #8 key; or plain PKCS #8 or SEC 1. Sources: cosign's SIGNATURE_SPEC, RFC
7914 (scrypt), RFC 5958 (PKCS #8).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipec.errors import EnvironmentLacks, UsageError
from recipec.store import write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

Password = Callable[[], bytes]
"""Asked only where it is needed, after everything that may fail before."""
ENCRYPTED = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
"""cosign 2 and later; cosign 1."""
_SCRYPT = {"N": 1 << 16, "r": 8, "p": 1}
_SCRYPT_MEMORY = 1 << 30
"""Bytes that a key file may make us spend: 128 * N * r."""
_LARGEST = 1 << 16
_PEM = re.compile(
    r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----\s+(?P<body>[A-Za-z0-9+/=\s]+?)\s*"
    r"-----END (?P=label)-----"
)


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A private key. Equal inputs give equal signatures."""

    _key: EllipticCurvePrivateKey = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """The DER signature over `data`."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        return self._key.sign(data, ECDSA(hashes.SHA256(), deterministic_signing=True))

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(_key=self._key.public_key())


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """A public key."""

    _key: EllipticCurvePublicKey = field(repr=False)

    def holds(self, signature: bytes, data: bytes) -> bool:
        """Whether the signature is this key's over `data`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        try:
            self._key.verify(signature, data, ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """The key as `PUBLIC KEY` PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_private(path: Path, password: Password) -> Signer:
    """The private key in a file. Raises UsageError for what is none, or for a wrong password."""
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    label, body = _pem(path, "private key")
    if label in ENCRYPTED:
        body = _opened(path, body, password)
    elif label not in ("PRIVATE KEY", "EC PRIVATE KEY"):
        hint = "name a private key (cosign.key), or a PKCS #8 key"
        raise UsageError(f"{path} is no private key: it holds {label}", hint=hint)
    try:
        return Signer(_key=_p256(load_der_private_key(body, None), path))
    except (ValueError, TypeError):  # `from None`: a parse error may quote the key
        raise _damaged(path) from None


def read_public(path: Path) -> Verifier:
    """The public key in a file. Raises UsageError for what is none."""
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    label, body = _pem(path, "public key")
    if label != "PUBLIC KEY":
        hint = "name the public key (cosign.pub), which may be known to all"
        raise UsageError(f"{path} is no public key: it holds {label}", hint=hint)
    try:
        return Verifier(_key=_p256(load_der_public_key(body), path))
    except (ValueError, TypeError):
        raise _damaged(path) from None


def make_pair(private: Path, public: Path, password: Password) -> None:
    """Write a new key pair; the private half is encrypted and for its owner only.

    Raises UsageError if either file is there: a key that is lost cannot be had again.
    """
    _need()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    for path in (private, public):
        if path.exists():
            raise UsageError(f"{path} is there already", hint="move it away, or name another file")
    key = ec.generate_private_key(ec.SECP256R1())
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    write_atomically(private, _written(ENCRYPTED[0], _closed(plain, password())), mode=0o600)
    write_atomically(public, Verifier(_key=key.public_key()).pem())


def _pem(path: Path, what: str) -> tuple[str, bytes]:
    """Label and bytes of the only PEM block of a file."""
    _need()
    try:
        with path.open("rb") as stream:
            text = stream.read(_LARGEST).decode("ascii", "replace")
    except OSError as error:
        raise UsageError(
            f"cannot read the {what} {path}: {error.strerror}", hint="`recipec keys` makes a pair"
        ) from error
    found = _PEM.search(text)
    if found is None:
        raise UsageError(f"{path} is no {what}", hint="`recipec keys` makes a pair of PEM files")
    try:
        return found["label"], base64.b64decode("".join(found["body"].split()), validate=True)
    except binascii.Error:
        raise _damaged(path) from None


def _p256(key: Any, path: Path) -> Any:
    curve = getattr(getattr(key, "curve", None), "name", "another kind")
    if curve != "secp256r1":
        raise UsageError(
            f"{path} is a key of {curve}", hint="signatures here are ECDSA on P-256, as cosign's"
        )
    return key


def _opened(path: Path, body: bytes, password: Password) -> bytes:
    """The PKCS #8 key out of cosign's envelope."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        plain = json.loads(body)
        kdf, cipher = plain["kdf"], plain["cipher"]
        known = kdf["name"] == "scrypt" and cipher["name"] == "nacl/secretbox"
        salt, nonce, sealed = (
            base64.b64decode(text) for text in (kdf["salt"], cipher["nonce"], plain["ciphertext"])
        )
        params = {name: int(kdf["params"][name]) for name in ("N", "r", "p")}
    except (ValueError, KeyError, TypeError):
        raise _damaged(path) from None
    if not known or len(nonce) != SecretBox.NONCE_SIZE:
        raise _damaged(path)
    if not 1 <= params["r"] <= 64 or not 1 <= params["p"] <= 16 or _memory(params) > _SCRYPT_MEMORY:
        raise UsageError(f"{path} asks for too much work to open", hint="make the pair anew")
    try:
        return SecretBox(_stretched(password(), salt, params)).decrypt(sealed, nonce)
    except CryptoError:
        hint = "give the key's password in COSIGN_PASSWORD"
        raise UsageError(f"the password does not open {path}", hint=hint) from None
    except ValueError:
        raise _damaged(path) from None


def _closed(plain: bytes, password: bytes) -> bytes:
    """A PKCS #8 key in cosign's envelope."""
    from nacl.secret import SecretBox

    salt, nonce = os.urandom(32), os.urandom(SecretBox.NONCE_SIZE)
    sealed = SecretBox(_stretched(password, salt, _SCRYPT)).encrypt(plain, nonce).ciphertext
    text = {
        "kdf": {"name": "scrypt", "params": _SCRYPT, "salt": _base64(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": _base64(nonce)},
        "ciphertext": _base64(sealed),
    }
    return json.dumps(text, separators=(",", ":")).encode()


def _stretched(password: bytes, salt: bytes, params: Mapping[str, int]) -> bytes:
    memory = _memory(params) + (1 << 20)
    return hashlib.scrypt(
        password,
        salt=salt,
        n=params["N"],
        r=params["r"],
        p=params["p"],
        maxmem=memory,
        dklen=32,
    )


def _memory(params: Mapping[str, int]) -> int:
    """Bytes that scrypt works in (RFC 7914, section 6)."""
    return 128 * params["r"] * (params["N"] + params["p"] + 2)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _written(label: str, body: bytes) -> bytes:
    text = _base64(body)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _damaged(path: Path) -> UsageError:
    return UsageError(f"{path} is a damaged key", hint="restore it, or make a new pair")


def _need() -> None:
    """Raises EnvironmentLacks where the libraries for signing are not installed."""
    try:
        import cryptography  # noqa: F401
        import nacl  # noqa: F401
    except ImportError as error:
        raise EnvironmentLacks(
            f"signing and verifying need {error.name}, which is not installed",
            hint="pip install 'recipec[sign]'",
        ) from error
