"""Where an image keeps what wheels bring.

In: a Python's version, and where it lies. Out: folders and paths. Reads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recipec.image.image import PREFIX


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the image keeps things, for one Python such as `3.11`.

    `elsewhere` is the path of a Python that is not Debian's own: wheels then have a folder of their
    own, in which nothing of that Python's lies.
    """

    python: str
    elsewhere: str = ""

    @property
    def interpreter(self) -> str:
        """The absolute path in shebang lines."""
        return self.elsewhere or f"/usr/bin/python{self.python}"

    @property
    def prefix(self) -> str:
        """The folder below which everything goes."""
        return PREFIX.lstrip("/") if self.elsewhere else "usr/local"

    @property
    def site(self) -> str:
        """Where modules go: in Debian, the folder for what its own packages do not own."""
        folder = "site-packages" if self.elsewhere else "dist-packages"
        return f"{self.prefix}/lib/python{self.python}/{folder}"

    @property
    def scripts(self) -> str:
        """Where programs go."""
        return f"{self.prefix}/bin"

    def scheme(self, name: str) -> Mapping[str, str]:
        """Folder by the name that a wheel's `.data` uses, for the project `name`."""
        return {
            "purelib": self.site,
            "platlib": self.site,
            "scripts": self.scripts,
            "data": self.prefix,
            "headers": f"{self.prefix}/include/python{self.python}/{name}",
        }
