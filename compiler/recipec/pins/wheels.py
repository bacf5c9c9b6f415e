"""From requirements to wheels: uv resolves for the target, we choose one file per package.

In: requirements, a platform, pins to prefer, the user's sources. Out: wheels with where they lie.
It downloads no wheel, and no URL or host ever reaches the lock.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec.errors import RECIPE, EnvironmentLacks, RecipecError
from recipec.pins.lockfile import Platform, Wheel
from recipec.pins.sources import WheelSources
from recipec.pins.target import marker_variables, tag_ranks
from recipec.pins.transport import shown


class NoSolution(RecipecError):
    """No set of wheels satisfies the requirements."""

    exit_code = RECIPE


_OF_SOURCES = (
    *("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_KEYRING_PROVIDER", "UV_CREDENTIALS_DIR", "UV_INSECURE_HOST", "UV_NATIVE_TLS"),
    *("UV_SYSTEM_CERTS", "UV_HTTP_", "UV_REQUEST_TIMEOUT", "UV_OFFLINE", "UV_CONCURRENT_"),
    *("UV_CACHE_DIR", "UV_NO_CACHE", "UV_CONFIG_FILE", "UV_NO_CONFIG"),
)
"""Beginnings of the variables that tell uv where wheels are and how to get there; it sees no others
of its own."""


@dataclass(frozen=True, kw_only=True)
class FoundWheel:
    """A wheel and where it lies; digest and size are None where the index does not tell them."""

    name: str
    version: str
    file: str
    url: str
    sha256: str | None
    size: int | None


@dataclass(frozen=True, kw_only=True)
class Resolver:
    """uv, set up for one target and one user's sources. `folder` is where uv looks for uv.toml."""

    platform: Platform
    sources: WheelSources
    folder: Path
    exclude_newer: str | None = None

    def resolve(
        self,
        requirements: Sequence[str],
        *,
        prefer: Sequence[Wheel] = (),
        no_deps: bool = False,
    ) -> tuple[FoundWheel, ...]:
        """One wheel per package of the closure, sorted by name.

        `prefer` are pins to keep where the requirements allow them. Raises NoSolution, or
        EnvironmentLacks when uv or the network is missing.
        """
        found = self._run(requirements, prefer=prefer, no_deps=no_deps)
        return tuple(_best(package, self.platform) for package in _wanted(found, self.platform))

    def locate(self, wheels: Sequence[Wheel]) -> dict[str, str]:
        """URLs by digest of exactly these wheels; what upstream no longer has is left out."""
        # `==2.0` would be met by 2.0+cpu too, and better
        exact = [f"{wheel.name}==={wheel.version}" for wheel in wheels]
        try:
            found = self._run(exact, prefer=(), no_deps=True)
        except NoSolution:
            # Some version is gone. Without the versions but with the pins preferred, uv keeps
            # every pin that still exists, so one more run tells which.
            names = [wheel.name for wheel in wheels]
            found = self._run(names, prefer=wheels, no_deps=True)
            found += self._public(found, wheels)
        digests = {wheel.sha256 for wheel in wheels}
        urls: dict[str, str] = {}
        for package in found:
            for wheel in _wheels(package):
                if wheel.sha256 in digests:
                    urls.setdefault(wheel.sha256, wheel.url)
        # An index without hashes is believed by file name; the download checks the bytes.
        by_file = {w.file: w for p in found for w in _wheels(p) if w.sha256 is None}
        for pinned in wheels:
            if pinned.sha256 not in urls and pinned.file in by_file:
                urls[pinned.sha256] = by_file[pinned.file].url
        return urls

    def _public(
        self, found: Sequence[Mapping[str, Any]], wheels: Sequence[Wheel]
    ) -> list[dict[str, Any]]:
        """Pins in whose place a local version of theirs was found, asked for by themselves."""
        versions = {str(package["name"]): str(package.get("version", "")) for package in found}
        asked = [w for w in wheels if versions.get(w.name, "").startswith(f"{w.version}+")]
        more: list[dict[str, Any]] = []
        for wheel in asked:
            with suppress(NoSolution):
                more += self._run([f"{wheel.name}==={wheel.version}"], prefer=(), no_deps=True)
        return more

    def _run(
        self, requirements: Sequence[str], *, prefer: Sequence[Wheel], no_deps: bool
    ) -> list[dict[str, Any]]:
        import tomllib

        _refuse_odd(requirements)
        with tempfile.TemporaryDirectory(prefix="recipec-") as name:
            wanted, output = Path(name) / "requirements.in", Path(name) / "pylock.toml"
            wanted.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
            if prefer:
                output.write_text(_preferences(prefer), encoding="utf-8")
            command = [*self._command(), "-o", str(output), str(wanted)]
            if no_deps:
                command.append("--no-deps")
            try:
                done = subprocess.run(
                    command,
                    cwd=self.folder,
                    env=self._environment(),
                    capture_output=True,
                    text=True,
                    encoding="utf-8",
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                    check=False,
                )
            except OSError as error:
                raise EnvironmentLacks(
                    f"uv does not start: {error}", hint="install uv: `pip install uv`"
                ) from error
            if done.returncode:
                raise _failure(done.stderr)
            packages = tomllib.loads(output.read_text(encoding="utf-8")).get("packages", [])
            return list(packages)

    def _command(self) -> list[str]:
        command = [
            uv_binary(), "pip", "compile", "--quiet", "--color", "never", "--no-header",
            "--format", "pylock.toml", "--only-binary", ":all:", "--no-sources",
            "--python", sys.executable, "--python-version", self.platform.python,
            "--python-platform", self.platform.wheels, *self.sources.arguments,
        ]  # fmt: skip
        if self.exclude_newer:
            command += ["--exclude-newer", self.exclude_newer]
        return command

    def _environment(self) -> dict[str, str]:
        # UV_EXCLUDE_NEWER, UV_RESOLUTION and the like would choose versions that neither recipe
        # nor lock says anything of; UV_OUTPUT_FILE would aim the run elsewhere.
        return {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith("UV_") or name.startswith(_OF_SOURCES)
            },
            **self.sources.environment,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
        }


def uv_binary() -> str:
    """The uv program: the one installed beside recipec, or the PATH's."""
    try:
        from uv import find_uv_bin

        return os.fspath(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise EnvironmentLacks(
            "uv is missing: it resolves the image's wheels", hint="install it: `pip install uv`"
        )
    return found


def uv_version() -> str:
    """The version of uv, such as 0.13.9."""
    done = subprocess.run([uv_binary(), "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\S*", done.stdout)
    return found.group() if found else "unknown"


def _refuse_odd(requirements: Sequence[str]) -> None:
    """Only names with versions: a line that uv reads as an option or a URL must not get to it."""
    from packaging.requirements import InvalidRequirement, Requirement

    for line in requirements:
        try:
            good = Requirement(line).url is None and "\n" not in line
        except InvalidRequirement:
            good = False
        if not good:
            raise NoSolution(
                f"not a package and a version: {line!r}",
                hint="write versions in `image.versions` as `5.23.0` or `>=5,<6`",
            )


def _wanted(
    packages: Sequence[Mapping[str, Any]], platform: Platform
) -> Iterator[Mapping[str, Any]]:
    """Packages whose marker holds on the target, sorted by name."""
    from packaging.markers import Marker

    variables = marker_variables(platform)
    for package in sorted(packages, key=lambda package: str(package["name"])):
        marker = package.get("marker")
        if marker is None or Marker(marker).evaluate(dict(variables)):
            yield package


def _best(package: Mapping[str, Any], platform: Platform) -> FoundWheel:
    """The one wheel of a package for the target: best tag, then highest build, then file name."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    ranks = tag_ranks(platform)
    found: list[tuple[tuple[object, ...], FoundWheel]] = []
    for wheel in _wheels(package):
        try:
            _, _, build, tags = parse_wheel_filename(wheel.file)
        except InvalidWheelFilename:
            continue
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
        if rank is not None:
            number = build[0] if build else -1
            found.append(((rank, -number, wheel.file), wheel))
    if not found:
        raise NoSolution(
            f"{package['name']} {package.get('version')} has no wheel for {platform.wheels},"
            f" Python {platform.python}",
            hint="choose a version that has one in `image.versions`",
        )
    return min(found, key=lambda pair: pair[0])[1]


def _wheels(package: Mapping[str, Any]) -> Iterator[FoundWheel]:
    from urllib.parse import unquote

    for entry in package.get("wheels", ()):
        url = str(entry.get("url") or Path(str(entry.get("path", ""))).absolute().as_uri())
        file = str(entry.get("name") or unquote(shown(url).rpartition("/")[2]))
        digest = entry.get("hashes", {}).get("sha256")
        yield FoundWheel(
            name=str(package["name"]),
            version=str(package.get("version", "")),
            file=file,
            url=url,
            sha256=f"sha256:{digest}" if digest else None,
            size=entry.get("size"),
        )


def _preferences(wheels: Sequence[Wheel]) -> str:
    """Pins as the output of an earlier run, which is where uv looks for preferences."""
    lines = ['lock-version = "1.0"', 'created-by = "recipec"']
    for wheel in wheels:
        lines += ["", "[[packages]]", f'name = "{wheel.name}"', f'version = "{wheel.version}"']
    return "\n".join(lines) + "\n"


def _failure(stderr: str) -> RecipecError:
    text = _shortened(stderr)
    if "No solution found" in stderr or "unsatisfiable" in stderr:
        return NoSolution(
            f"the image's Python packages cannot be resolved: {text}",
            hint="change `image.versions`, or add the index or folder that has the version to"
            " pip's or uv's configuration (find-links, index-url, extra-index-url)",
        )
    if re.search(r"Request failed|error sending request|Failed to fetch|dns error", stderr):
        return EnvironmentLacks(
            f"the package index cannot be reached: {text}",
            hint="check the connection, HTTPS_PROXY and the index in pip's or uv's configuration;"
            " what is locked and cached needs no network",
        )
    return EnvironmentLacks(
        f"uv could not resolve the image's Python packages: {text}",
        hint="check pip's and uv's configuration",
    )


def _shortened(stderr: str) -> str:
    """uv's explanation in one line: no drawing, no passwords, at most 600 characters."""
    lines = []
    for raw in stderr.splitlines():
        line = re.sub(r"^[\s×╰─▶├│]+", "", raw)
        line = re.sub(r"^(error|cause|Caused by):\s*", "", line).strip()
        line = re.sub(r"://[^/@\s]*@", "://", line)
        if line and not line.startswith(("warning:", "No solution found")):
            lines.append(line)
    text = " ".join(lines)
    return text if len(text) <= 600 else text[:597] + "..."
