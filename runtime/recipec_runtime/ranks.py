"""Which of how many processes this one is.

In: the environment. Out: `Ranks`. This version reads torchrun's variables; platforms that name
them otherwise are added as rows of `TABLE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recipec_runtime.errors import EnvironmentLacks

TABLE = (("WORLD_SIZE", "RANK", "LOCAL_RANK"),)
"""Variable names of world size, rank and local rank; the first row that is set is taken."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process's place: `rank` of `world_size`, and its number on this machine."""

    world_size: int = 1
    rank: int = 0
    local_rank: int = 0


def read(environ: Mapping[str, str], *, world_size: int) -> Ranks:
    """This process's ranks. Raises EnvironmentLacks unless there are `world_size` processes."""
    found = Ranks()
    for names in TABLE:
        if names[0] in environ:
            try:
                size, rank, local = (int(environ.get(name, "0")) for name in names)
            except ValueError as error:
                raise EnvironmentLacks(
                    f"{', '.join(names)} must be whole numbers: {error}",
                    hint="start the run with torchrun, or unset them",
                ) from error
            found = Ranks(world_size=size, rank=rank, local_rank=local)
            break
    if found.world_size != world_size:
        raise EnvironmentLacks(
            f"there are {found.world_size} processes, and the recipe was compiled for {world_size}",
            hint="the number of processes changes the bytes; start as many as run.json says",
        )
    return found
