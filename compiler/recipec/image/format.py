"""The constants that every byte of an image hangs on.

A change of anything that changes a layer's bytes for the same inputs raises `LAYER_FORMAT`: it is
part of every layer's key and of the lock, so old layers are made again and old locks say why.
"""

from __future__ import annotations

LAYER_FORMAT = 1
"""Version of the way that inputs become layers."""

MTIME = 315_619_200
"""Seconds since 1970 of every file: 2 January 1980. A zip file cannot hold a time before 1980 in
any time zone, so whoever zips a file of the image must not meet an older one."""
CREATED = "1980-01-02T00:00:00Z"
"""The same moment for the config; `docker load` refuses an empty one."""

BIG_WHEEL = 8 << 20
"""Bytes from which on a wheel has a layer of its own."""
POOLS = 8
"""Layers that smaller wheels share, told apart by a hash of the wheel's name."""
MAX_WHEEL_LAYERS = 48
"""Own layers at most: container engines stop at 125 layers in all, some tools sooner."""

CHUNK = 1 << 20
"""Bytes of a file that become stored blocks at a time: part of the format."""
DEFLATED_CHUNK, INFLATED = 1 << 16, 1 << 18
"""Bytes of a deflate stream read, and of its contents inflated, at a time: what a processor's own
cache holds, so that bytes are read, inflated and hashed while they are there. Not of the format."""

MAX_RATIO = 64
"""How many times its own size an archive may unpack to, beyond MAX_SLACK bytes."""
MAX_SLACK = 64 << 20
MAX_MEMBERS = 400_000
MAX_METADATA = 32 << 20
"""Bytes of one metadata file (RECORD, entry_points.txt, control) that is read as a whole."""
