"""The referrers API of distribution-spec 1.1 before a real registry that has none.

docker-registry 2.8 keeps manifests with a `subject` and lists none. This proxy forwards everything
to it, and does what the specification adds: `OCI-Subject` in the answer to such a manifest, and
`GET /v2/NAME/referrers/DIGEST`, a page of `page` entries at a time.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from recipec.store import sha256
from tests.support.faults import Proxy, _Handler

_LIST = re.compile(
    r"/v2/(?P<name>.+)/referrers/(?P<digest>sha256:[0-9a-f]{64})(\?from=(?P<from>\d+))?"
)
_PUT = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")


@dataclass(kw_only=True)
class Referrers:
    """The running registry: `host` is 127.0.0.1:PORT."""

    host: str
    proxy: Proxy
    page: int
    listed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@contextmanager
def with_referrers(upstream: str, *, page: int = 100) -> Iterator[Referrers]:
    """A registry with the referrers API, which keeps its bytes in the one at `upstream`."""
    state = Referrers(host="", proxy=Proxy(upstream=upstream), page=page)

    class Handler(_Handler):
        proxy = state.proxy

        def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            asked = _LIST.fullmatch(self.path)
            if asked is not None and self.command == "GET":
                return _list(state, asked)
            status, headers, data = super()._forward(body)
            put = _PUT.fullmatch(self.path)
            if put is not None and self.command == "PUT" and status == 201:
                headers |= _remember(state, body)
            return status, headers, data

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.host = state.proxy.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def _list(state: Referrers, asked: re.Match[str]) -> tuple[int, dict[str, str], bytes]:
    rows = state.listed.get(asked["digest"], [])
    start = int(asked["from"] or 0)
    kind = "application/vnd.oci.image.index.v1+json"
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": rows[start : start + state.page]}
    headers = {"Content-Type": kind}
    if start + state.page < len(rows):
        path = asked.string.partition("?")[0]
        headers["Link"] = f'<{path}?from={start + state.page}>; rel="next"'
    return 200, headers, json.dumps(index).encode()


def _remember(state: Referrers, body: bytes) -> dict[str, str]:
    plain = json.loads(body)
    subject = (plain.get("subject") or {}).get("digest")
    if not subject:
        return {}
    row = {
        "mediaType": plain["mediaType"],
        "digest": sha256(body),
        "size": len(body),
        "artifactType": plain["artifactType"],
        "annotations": plain.get("annotations", {}),
    }
    rows = state.listed.setdefault(subject, [])
    if row not in rows:
        rows.append(row)
    return {"OCI-Subject": subject}
