"""`recipec plan RECIPE`: every decision, who made it, and why."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from recipec.cli.common import add_recipe
from recipec.cli.compile import read_lock
from recipec.cli.console import print_json, quiet_or_bars, table
from recipec.cli.frontend import load
from recipec.cli.project import find_project
from recipec.errors import OK
from recipec.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)


def run(options: argparse.Namespace) -> int:
    """Print the plan. It needs the model and the data, but no wheel and no lock."""
    from recipec.cli.passes import lock_and_plan

    project, store = find_project(options.recipe), Store()
    with quiet_or_bars(options.json) as bars:
        _, plan = lock_and_plan(
            load(project, store),
            old=read_lock(project),
            store=store,
            progress=bars,
            locked=False,
            fetch_packages=False,
        )
    if options.json:
        print_json(
            {
                "decisions": [asdict(decision) for decision in plan.decisions],
                "settings": asdict(plan.settings),
            }
        )
        return OK
    rows = [
        (d.key, f"{_shown(d.value)}{' ' + d.unit if d.unit else ''}", d.origin, d.reason)
        for d in plan.decisions
    ]
    print(table(f"plan of {plan.settings.name}", rows, head=("key", "value", "from", "why")))
    return OK


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
