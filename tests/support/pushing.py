"""What the tests of push and pull share: a password, a login, a second opinion on digests."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

from recipec.store import sha256

SECRET = "pa:ss wörd"
BIG = 9 << 20


def log_in(folder: Path, host: str, password: str = SECRET) -> None:
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"me:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def skopeo_digest(name: str) -> str:
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"],
        check=True,
        capture_output=True,
    )
    return sha256(raw.stdout)
