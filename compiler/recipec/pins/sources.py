"""Where wheels come from: the user's own configuration of pip, handed over to uv.

In: environment variables and pip's configuration files. Out: variables and arguments for uv, and
what our own downloader needs to reach the same places (certificates, passwords, proxies). There is
no host of ours anywhere: without configuration uv uses its own default.

uv does not read pip's configuration, so a user whose pip works would find that uv does not. What
uv itself is told (`UV_*`, uv.toml) wins over what pip is told. pip takes the best version over all
its indexes while uv stops at the first index that knows a name; who configured pip expects pip's
way, so that is asked for where the indexes are pip's.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recipec.pins.transport import Access, Credential


@dataclass(frozen=True, kw_only=True)
class WheelSources:
    """How to call uv, and how to download what it finds. Holds passwords: never print it."""

    environment: Mapping[str, str] = field(repr=False)
    """Variables for uv on top of this process's own."""
    arguments: tuple[str, ...]
    access: Access = field(repr=False)


def wheel_sources(
    environ: Mapping[str, str] | None = None, *, files: tuple[Path, ...] | None = None
) -> WheelSources:
    """What the user configured. `files` replaces the places where pip's configuration lies."""
    environ = os.environ if environ is None else environ
    options = pip_options(environ, files=config_files(environ) if files is None else files)
    given = {name for name in environ if name.startswith("UV_") and environ[name]}
    handed: dict[str, str] = {}
    if links := options.get("find-links", "").split():
        handed["UV_FIND_LINKS"] = ",".join(_as_url(link) for link in links)
    if index := options.get("index-url", "").strip():
        handed["UV_DEFAULT_INDEX"] = index
    if extra := options.get("extra-index-url", "").split():
        handed["UV_INDEX"] = " ".join(extra)
    uv_indexes = {"UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"} & given
    if uv_indexes:
        handed.pop("UV_INDEX", None)
        handed.pop("UV_DEFAULT_INDEX", None)
    elif "UV_INDEX" in handed:
        handed["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    trusted = options.get("trusted-host", "").split()
    if trusted:
        handed["UV_INSECURE_HOST"] = " ".join(trusted)
    if timeout := options.get("timeout") or options.get("default-timeout"):
        handed["UV_HTTP_TIMEOUT"] = timeout.strip()
    certificates = options.get("cert")
    if certificates and not environ.get("SSL_CERT_FILE"):
        handed["SSL_CERT_FILE"] = certificates.strip()
    proxy = options.get("proxy", "").strip()
    if proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            if not (environ.get(name) or environ.get(name.lower())):
                handed[name] = proxy
    handed = {name: value for name, value in handed.items() if name not in given}
    no_index = _true(options.get("no-index", "")) and not uv_indexes
    return WheelSources(
        environment=handed,
        arguments=("--no-index",) if no_index else (),
        access=Access(
            certificates=_certificates(environ) or (certificates or None),
            proxy=proxy or None,
            insecure_hosts=tuple(trusted),
            credentials=tuple(_credentials({**environ, **handed})),
        ),
    )


def pip_options(environ: Mapping[str, str], *, files: tuple[Path, ...]) -> dict[str, str]:
    """pip's options by name: later files win over earlier ones, `PIP_*` over every file."""
    options: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                options |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    options |= {
        name[4:].lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value and name != "PIP_CONFIG_FILE"
    }
    return options


def config_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where pip looks for its configuration, the weakest first."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return ()
    home = Path(environ.get("HOME") or Path("~").expanduser())
    shared = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    places = [Path(folder) / "pip" / "pip.conf" for folder in reversed(shared.split(":")) if folder]
    if sys.platform == "darwin":
        places.append(Path("/Library/Application Support/pip/pip.conf"))
    places.append(Path("/etc/pip.conf"))
    if not (named and Path(named).exists()):
        own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip"
        if sys.platform == "darwin" and (home / "Library/Application Support/pip").is_dir():
            own = home / "Library/Application Support/pip"
        places += [home / ".pip" / "pip.conf", own / "pip.conf"]
    places.append(Path(sys.prefix) / "pip.conf")
    if named:
        places.append(Path(named).expanduser())
    return tuple(places)


def _as_url(link: str) -> str:
    """A find-links entry as a URL: uv splits its list at commas, so a comma must be escaped."""
    if "://" in link:
        return link.replace(",", "%2C")
    return Path(link).expanduser().absolute().as_uri().replace(",", "%2C")


def _true(text: str) -> bool:
    return text.strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def _certificates(environ: Mapping[str, str]) -> str | None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"):
        if value := environ.get(name):
            return value
    return None


def _credentials(environ: Mapping[str, str]) -> Iterator[Credential]:
    """User and password of every configured URL that carries them."""
    urls: list[str] = []
    for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        # uv lets an index have a name: `name=https://...`.
        for entry in environ.get(name, "").split():
            head, equals, tail = entry.partition("=")
            urls.append(tail if equals and "://" not in head else entry)
    urls += environ.get("UV_FIND_LINKS", "").split(",")
    for url in urls:
        parts = urlsplit(url)
        if parts.hostname and parts.username:
            yield Credential(
                host=parts.netloc.rpartition("@")[2],
                user=unquote(parts.username),
                password=unquote(parts.password or ""),
            )
    yield from _named_credentials(environ)


def _named_credentials(environ: Mapping[str, str]) -> Iterator[Credential]:
    """`UV_INDEX_NAME_USERNAME` and `_PASSWORD` of indexes that have a name."""
    for entry in environ.get("UV_INDEX", "").split():
        name, equals, url = entry.partition("=")
        if not equals or "://" in name:
            continue
        key = "".join(c if c.isalnum() else "_" for c in name.upper())
        user = environ.get(f"UV_INDEX_{key}_USERNAME")
        password = environ.get(f"UV_INDEX_{key}_PASSWORD")
        if user or password:
            host = urlsplit(url).netloc.rpartition("@")[2]
            yield Credential(host=host, user=user or "", password=password or "")
