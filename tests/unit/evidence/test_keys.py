"""Key files: cosign's envelope, openssl's keys, signatures that openssl accepts."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from recipec.cli.main import main
from recipec.errors import UsageError
from recipec.evidence import keys
from recipec.evidence.keys import make_pair, read_private, read_public
from recipec.publish.signatures import payload

PASSWORD = b"pa:ss w\xc3\xb6rd"


def openssl(*words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *words], input=data, capture_output=True, check=False)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    # As much work as cosign's own files ask for, in one test; the others need not wait.
    monkeypatch.setitem(keys._SCRYPT, "N", 1 << 10)
    private, public = tmp_path / "a.key", tmp_path / "a.pub"
    make_pair(private, public, lambda: PASSWORD)
    return private, public


def test_a_new_pair_is_laid_out_as_cosigns(tmp_path: Path) -> None:
    private, public = tmp_path / "a.key", tmp_path / "a.pub"
    make_pair(private, public, lambda: b"")
    text = private.read_text()
    assert text.startswith("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    assert max(len(line) for line in text.splitlines()) == 64 or text.count("\n") < 4
    plain = json.loads(base64.b64decode("".join(text.splitlines()[1:-1])))
    assert plain["kdf"]["params"] == {"N": 65536, "r": 8, "p": 1}
    assert (plain["kdf"]["name"], plain["cipher"]["name"]) == ("scrypt", "nacl/secretbox")
    assert private.stat().st_mode & 0o777 == 0o600
    assert read_private(private, lambda: b"").verifier.pem() == public.read_bytes()


def test_openssl_accepts_a_signature(pair: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = pair
    signature = read_private(private, lambda: PASSWORD).sign(b"payload")
    (tmp_path / "sig").write_bytes(signature)
    words = ("dgst", "-sha256", "-verify", str(public), "-signature", str(tmp_path / "sig"))
    assert openssl(*words, data=b"payload").stdout == b"Verified OK\n"
    assert openssl(*words, data=b"another").returncode == 1


def test_a_signature_of_openssl_is_accepted(tmp_path: Path) -> None:
    key, public = tmp_path / "k.pem", tmp_path / "p.pem"
    words = ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    assert openssl(*words, "-out", str(key)).returncode == 0
    assert openssl("pkey", "-in", str(key), "-pubout", "-out", str(public)).returncode == 0
    signature = openssl("dgst", "-sha256", "-sign", str(key), data=b"payload").stdout
    verifier = read_public(public)
    assert verifier.holds(signature, b"payload")
    assert not verifier.holds(signature, b"another")
    assert not verifier.holds(b"no signature", b"payload")
    # A plain PKCS #8 key signs too, and asks for no password.
    assert verifier.holds(read_private(key, pytest.fail).sign(b"x"), b"x")


def test_the_signature_is_the_one_of_rfc_6979(tmp_path: Path) -> None:
    """RFC 6979, appendix A.2.5: P-256, SHA-256, message "sample"."""
    secret = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    key = ec.derive_private_key(secret, ec.SECP256R1())
    path = tmp_path / "k.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signer = read_private(path, pytest.fail)
    assert decode_dss_signature(signer.sign(b"sample")) == (
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    )
    assert "c9afa9" not in repr(signer).lower()


def test_a_signature_that_cosign_made(tmp_path: Path) -> None:
    """From the test data of containers/image (Apache-2.0): dir-img-cosign-valid, cosign.pub."""
    public = tmp_path / "cosign.pub"
    public.write_text(
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFNLqFhf4fiN6o/glAuYnq2jYUeL0\n"
        "vRuLu/z39pmbVwS9ff5AYnlwaP9sxREajdLY9ynM6G1sy6AAmb7Z63TsLg==\n"
        "-----END PUBLIC KEY-----\n"
    )
    signature = base64.b64decode(
        "MEYCIQDmtamqYPjMg81nqeBhptrPls44aA/r7PwLmspINJY4MwIhANKRpqe2E9UCBtGFdPoz/8jAbaQm4uP4h+Ip"
        "wKTE6ClR"
    )
    digest = "sha256:634a8f35b5f16dcf4aaa0822adc0b1964bb786fca12f6831de8ddc45e5986a00"
    # What cosign signed is, to the byte, what we would sign for the same image.
    data = payload("192.168.64.2:5000/cosign-signed-single-sample", digest)
    assert read_public(public).holds(signature, data)
    assert not read_public(public).holds(signature, data + b" ")


def test_the_older_label_of_cosign_is_read(pair: tuple[Path, Path]) -> None:
    private, public = pair
    private.write_text(private.read_text().replace("SIGSTORE", "COSIGN"))
    assert read_private(private, lambda: PASSWORD).verifier.pem() == public.read_bytes()


def test_a_wrong_password(pair: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError) as caught:
        read_private(pair[0], lambda: b"wrong-secret")
    assert caught.value.render() == (
        f"error: the password does not open {pair[0]}\n"
        "  hint: give the key's password in COSIGN_PASSWORD"
    )


def envelope(**changes: object) -> bytes:
    plain: dict[str, object] = {
        "kdf": {"name": "scrypt", "params": {"N": 1024, "r": 8, "p": 1}, "salt": "AAAA"},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(bytes(24)).decode()},
        "ciphertext": base64.b64encode(bytes(64)).decode(),
        **changes,
    }
    body = base64.b64encode(json.dumps(plain).encode()).decode()
    label = "ENCRYPTED SIGSTORE PRIVATE KEY"
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is a damaged key"),
        (b"-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----\n", "is a damaged key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "it holds CERTIFICATE"),
        (envelope(), "the password does not open"),
        (envelope(kdf=1), "is a damaged key"),
        (envelope(cipher={"name": "aes", "nonce": ""}), "is a damaged key"),
        (
            envelope(kdf={"name": "scrypt", "params": {"N": 1 << 30, "r": 8, "p": 1}, "salt": ""}),
            "asks for too much work",
        ),
        (
            envelope(kdf={"name": "scrypt", "params": {"N": 1000, "r": 8, "p": 1}, "salt": ""}),
            "is a damaged key",
        ),
    ],
)
def test_what_is_no_private_key(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "k"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=said):
        read_private(path, lambda: b"")


def test_keys_of_another_kind(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    key = tmp_path / "ed.pem"
    openssl("genpkey", "-algorithm", "ED25519", "-out", str(key))
    with pytest.raises(UsageError, match="is a key of another kind"):
        read_private(key, lambda: b"")
    with pytest.raises(UsageError, match="no public key: it holds ENCRYPTED SIGSTORE PRIVATE KEY"):
        read_public(pair[0])
    with pytest.raises(UsageError, match="cannot read the public key"):
        read_public(tmp_path / "none")


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(keys._SCRYPT, "N", 1 << 10)
    monkeypatch.setenv("COSIGN_PASSWORD", os.fsdecode(PASSWORD))
    prefix = tmp_path / "release"
    assert main(["keys", str(prefix)]) == 0
    signer = read_private(tmp_path / "release.key", lambda: PASSWORD)
    assert signer.verifier.pem() == (tmp_path / "release.pub").read_bytes()
    assert main(["keys", str(prefix)]) == 2
    assert "is there already" in capsys.readouterr().err
    monkeypatch.delenv("COSIGN_PASSWORD")
    assert main(["keys", str(tmp_path / "other")]) == 2
    assert "set COSIGN_PASSWORD" in capsys.readouterr().err
    assert not (tmp_path / "other.key").exists()
