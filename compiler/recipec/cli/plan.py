"""`recipec plan RECIPE`: every decision, who made it, and why."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from recipec.cli.common import add_recipe
from recipec.cli.compile import read_lock
from recipec.cli.console import print_json, quiet_or_bars, table
from recipec.cli.frontend import load
from recipec.cli.members import members
from recipec.cli.project import Project, find_project
from recipec.errors import OK
from recipec.plan.plan import Plan
from recipec.progress import Progress
from recipec.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)


def run(options: argparse.Namespace) -> int:
    """Print the plan, of a matrix each member's. It needs the model and the data, but no wheel."""
    project, store = find_project(options.recipe), Store()
    several = members(project, store)
    with quiet_or_bars(options.json) as bars:
        plans = [plan_of(one, store, bars) for one in several]
    if options.json:
        plain = [
            {
                "decisions": [asdict(decision) for decision in plan.decisions],
                "settings": asdict(plan.settings),
            }
            for plan in plans
        ]
        named = [
            {"name": plan.settings.name, **row} for plan, row in zip(plans, plain, strict=True)
        ]
        print_json(plain[0] if several == (project,) else {"members": named})
        return OK
    print("\n\n".join(map(_table, plans)))
    return OK


def plan_of(project: Project, store: Store, progress: Progress) -> Plan:
    """Every decision about one recipe. No lock is written and no package fetched."""
    from recipec.cli.passes import lock_and_plan

    _, plan = lock_and_plan(
        load(project, store),
        old=read_lock(project),
        store=store,
        progress=progress,
        locked=False,
        fetch_packages=False,
    )
    return plan


def _table(plan: Plan) -> str:
    rows = [
        (d.key, f"{_shown(d.value)}{' ' + d.unit if d.unit else ''}", d.origin, d.reason)
        for d in plan.decisions
    ]
    return table(f"plan of {plan.settings.name}", rows, head=("key", "value", "from", "why"))


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
