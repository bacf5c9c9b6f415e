"""`recipec check` beside Python's own start, msgspec's and jsonschema's import, in one run.

python -m bench.check [RECIPE]
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from itertools import count
from pathlib import Path

from bench.timing import command, measure, show

ROOT = Path(__file__).parent.parent
TIMES = 15
RECIPEC = [sys.executable, "-m", "recipec.cli.main"]


def main() -> None:
    """Time checks of a recipe that was checked before, and of one that never was."""
    recipe = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "recipes/legal-t5.yaml").absolute()
    with tempfile.TemporaryDirectory() as name:
        environment = {"RECIPEC_CACHE": f"{name}/cache"}
        fresh = recipe.with_name(".bench-check.yaml")
        number = count()

        def edit() -> None:
            fresh.write_text(f"{recipe.read_text()}# {next(number)}\n")

        def check(path: Path) -> None:
            command([*RECIPEC, "check", str(path)], environment=environment)

        check(recipe)
        try:
            bare = measure(
                "python -c pass", lambda: command([sys.executable, "-c", "pass"]), times=TIMES
            )
            imports = [
                measure(
                    f"import {name}",
                    partial(command, [sys.executable, "-c", f"import {name}"]),
                    times=TIMES,
                )
                for name in ("msgspec", "jsonschema")
            ]
            rows = [
                bare,
                *imports,
                measure(
                    "recipec --help",
                    lambda: command([*RECIPEC, "--help"], environment=environment),
                    times=TIMES,
                ),
                measure("recipec check, known", lambda: check(recipe), times=TIMES),
                measure("recipec check, new", lambda: check(fresh), times=TIMES, before=edit),
            ]
        finally:
            fresh.unlink(missing_ok=True)
    show(rows, against=bare)


if __name__ == "__main__":
    main()
