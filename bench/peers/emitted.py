"""recipec's contestant: the emitted script, started by the runtime as every engine starts it.

    python -m bench.peers.emitted RESULT

In: the variables of a run (RECIPEC_ROOT, RECIPEC_OUTPUT, and those that run.json pins). It adds a
clock around `Loop.log`, which the script calls at the end of every step, and nothing else.
"""

from __future__ import annotations

import sys
from typing import Any

from bench.peers.job import Result
from recipec_runtime import launch
from recipec_runtime.loop import Loop


def main() -> int:
    """Run the train stage; its exit code."""
    (path,) = sys.argv[1:]
    result = Result()
    log = Loop.log

    def timed(self: Loop, step: int, **numbers: Any) -> None:
        log(self, step, **numbers)
        result.losses.append(numbers["loss"])
        result.step()

    setattr(Loop, "log", timed)  # noqa: B010 - mypy knows that methods do not change
    code = launch.main(["train"])
    result.save(path)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
