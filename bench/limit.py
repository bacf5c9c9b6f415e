"""The least work that making wheel layers can be, done with the same libraries and nothing else.

In: wheels. It inflates every member and hashes what comes out (the diff_id) and the wheel's bytes
as they lie (the layer's digest), one process for each core, the largest wheel first. It checks
nothing and writes nothing.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from isal import isal_zlib

_READ, _INFLATED = 1 << 16, 1 << 18


def inflate_and_hash(wheels: Sequence[Path]) -> None:
    """Inflate and hash these wheels."""
    ordered = sorted(wheels, key=lambda wheel: -wheel.stat().st_size)
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for _ in pool.imap_unordered(_one, ordered):
            pass


def _one(wheel: Path) -> str:
    """The digests of one wheel, of which nobody wants to know."""
    inside, outside = hashlib.sha256(), hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, wheel.open("rb") as stream:
        for member in sorted(archive.infolist(), key=lambda info: info.header_offset):
            stream.seek(member.header_offset + 26)
            name, extra = (int.from_bytes(stream.read(2), "little") for _ in range(2))
            stream.seek(name + extra, os.SEEK_CUR)
            left = member.compress_size
            inflate = isal_zlib.decompressobj(-15)
            while left:
                chunk = stream.read(min(left, _READ))
                left -= len(chunk)
                outside.update(chunk)
                if member.compress_type == zipfile.ZIP_STORED:
                    inside.update(chunk)
                while chunk and member.compress_type == zipfile.ZIP_DEFLATED:
                    inside.update(inflate.decompress(chunk, _INFLATED))
                    chunk = inflate.unconsumed_tail
    return inside.hexdigest() + outside.hexdigest()
