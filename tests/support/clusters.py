"""An API server of Kubernetes, as far as making and taking away objects goes; its kubeconfig."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.clouds import Asked, Reply

TOKEN = "not-to-be-shown-anywhere"


class Server:
    """An API server's storage: objects by path, and answers that are given in their place."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.instead: dict[str, list[Reply]] = {}

    def __call__(self, asked: Asked) -> Reply:
        waiting = self.instead.get(asked.line)
        if waiting:
            return waiting.pop(0)
        if asked.method == "POST":
            path = f"{asked.path}/{asked.plain['metadata']['name']}"
            if path in self.objects:
                return status(409, "AlreadyExists", "it already exists")
            self.objects[path] = asked.plain
            return Reply(status=201, plain=asked.plain)
        if asked.path not in self.objects:
            return status(404, "NotFound", f"{asked.path.rpartition('/')[2]} not found")
        if asked.method == "DELETE":
            return Reply(plain=self.objects.pop(asked.path))
        return Reply(plain=self.objects[asked.path])


def status(code: int, reason: str, message: str) -> Reply:
    plain = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return Reply(status=code, plain={**plain, "reason": reason, "message": message})


def kubeconfig(url: str, folder: Path) -> Path:
    context = {"cluster": "here", "user": "me", "namespace": "team"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
        "contexts": [{"name": "here", "context": context}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    return folder / "kubeconfig"
