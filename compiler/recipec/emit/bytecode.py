"""Compiled templates, kept where Python keeps compiled modules: in `__pycache__` beside the source.

In: what Jinja compiled. Out: the same the next time, as long as no file of the compiler has
changed. Compiling the templates of one script costs more than the rest of a build that only emits.
A folder that cannot be written to is no error, and `PYTHONDONTWRITEBYTECODE` and
`PYTHONPYCACHEPREFIX` mean what they mean for modules.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

from jinja2.bccache import Bucket, BytecodeCache

from recipec.errors import EnvironmentLacks
from recipec.fingerprint import compiler_fingerprint
from recipec.store import write_atomically


class TemplateCache(BytecodeCache):
    """Jinja's bytecode in files named like Python's own."""

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """The path of a template's compiled form."""
        return cache_from_source(filename or name) + ".jinja"

    def get_source_checksum(self, source: str) -> str:
        """Changes with the template, and with filters and settings, which Jinja compiles in."""
        return f"{super().get_source_checksum(source)} {compiler_fingerprint()}"

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what is there, if it is of this template, this compiler and this Python."""
        try:
            with Path(bucket.key).open("rb") as file:
                bucket.load_bytecode(file)
        except Exception:  # unpickling a damaged file may raise anything
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it for the next time, if files may be written there."""
        if not sys.dont_write_bytecode:
            with suppress(EnvironmentLacks):
                write_atomically(Path(bucket.key), bucket.bytecode_to_string())
