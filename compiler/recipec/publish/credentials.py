"""Whom a registry knows us as, from the configuration that docker and podman keep.

In: a registry's name, the user's configuration files, credential helpers. Out: a `Credential` or
None. Secrets are never part of a repr, a message or a log.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipec.catalog.registries import quirks_of
from recipec.errors import EnvironmentLacks


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A user name with a password, or a refresh token."""

    user: str
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def find(
    registry: str, environment: Mapping[str, str] | None = None, *, repository: str = ""
) -> Credential | None:
    """The credential for `registry` from the first configuration that has one.

    podman keeps some for one `repository`, or for the folders above it. Raises EnvironmentLacks if
    a configuration file or a helper is broken.
    """
    keys = _keys(registry, repository)
    for path in _files(os.environ if environment is None else environment):
        config = _read(path)
        found = _in_entries(_section(config, "auths", path), keys, path, registry)
        helpers = _section(config, "credHelpers", path)
        for key in keys if found is None else ():
            helper = helpers.get(key)
            found = found or (_from_helper(str(helper), _server(registry)) if helper else None)
        if found is None and config.get("credsStore") and not set(keys) & set(helpers):
            found = _from_helper(str(config["credsStore"]), _server(registry))
        if found is not None:
            return found
    return None


def _keys(registry: str, repository: str) -> list[str]:
    """What a configuration may call this registry, the narrowest first."""
    parts = repository.split("/") if repository else []
    narrow = ["/".join([registry, *parts[:count]]) for count in range(len(parts), 0, -1)]
    names = [registry, *quirks_of(registry).credentials]
    schemes = [f"https://{registry}{rest}" for rest in ("", "/", "/v1/", "/v2/")]
    return [*narrow, *names, *schemes]


def _server(registry: str) -> str:
    """What a credential helper calls this registry."""
    return next(iter(quirks_of(registry).credentials), registry)


def _section(config: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    found = config.get(name) or {}
    if not isinstance(found, dict):
        raise _broken(path)
    return found


def _in_entries(
    entries: dict[str, Any], keys: list[str], path: Path, registry: str
) -> Credential | None:
    for key in keys:
        entry = entries.get(key) or {}
        if not isinstance(entry, dict):
            raise _broken(path)
        found = _from_entry(entry, path, registry)
        if found is not None:
            return found
    return None


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    """The file that a variable names, docker's, then podman's (containers-auth.json(5))."""
    if "REGISTRY_AUTH_FILE" in environment:
        yield Path(environment["REGISTRY_AUTH_FILE"])
    home = environment.get("HOME")
    if "DOCKER_CONFIG" in environment:
        yield Path(environment["DOCKER_CONFIG"], "config.json")
    elif home:
        yield Path(home, ".docker", "config.json")
    if "XDG_RUNTIME_DIR" in environment:
        yield Path(environment["XDG_RUNTIME_DIR"], "containers", "auth.json")
    else:
        yield Path(f"/run/containers/{os.getuid()}/auth.json")
    if "XDG_CONFIG_HOME" in environment:
        yield Path(environment["XDG_CONFIG_HOME"], "containers", "auth.json")
    elif home:
        yield Path(home, ".config", "containers", "auth.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EnvironmentLacks(f"cannot read {path}: {error.strerror}") from error
    except ValueError:
        # `from None`: the text of a parse error may quote the file.
        raise _broken(path) from None
    if not isinstance(config, dict):
        raise _broken(path)
    return config


def _broken(path: Path) -> EnvironmentLacks:
    return EnvironmentLacks(
        f"{path} is not a docker configuration", hint="mend it, or log in again"
    )


def _from_entry(entry: dict[str, Any], path: Path, registry: str) -> Credential | None:
    if entry.get("identitytoken"):
        return Credential(user="<token>", token=str(entry["identitytoken"]))
    if entry.get("auth"):
        try:
            user, colon, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, ValueError, TypeError):
            colon = ""
        if not colon:
            raise EnvironmentLacks(
                f"{path} has a damaged entry for {registry}",
                hint=f"log in again: `docker login {registry}`",
            ) from None
        return Credential(user=user, password=password.rstrip("\0"))
    if entry.get("username"):
        return Credential(user=str(entry["username"]), password=str(entry.get("password", "")))
    return None


def _from_helper(name: str, registry: str) -> Credential | None:
    """Ask `docker-credential-NAME get`, which reads a registry and prints JSON."""
    program = f"docker-credential-{name}"
    if "/" in name or shutil.which(program) is None:
        raise EnvironmentLacks(
            f"the credential helper {program} is not installed",
            hint="install it, or take it out of docker's config.json and log in again",
        )
    try:
        answer = subprocess.run(
            [program, "get"],
            input=registry.encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        if answer.returncode != 0:
            return None  # it knows no credential for this registry
        about = json.loads(answer.stdout)
        user, secret = str(about["Username"]), str(about["Secret"])
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        raise EnvironmentLacks(
            f"the credential helper {program} gave no usable answer for {registry}",
            hint=f"try `echo {registry} | {program} get`",
        ) from None
    if user == "<token>":
        return Credential(user=user, token=secret)
    return Credential(user=user, password=secret)
