"""`recipec plan RECIPE`: every decision, who made it, and why; what it takes, and what it costs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from recipec.catalog.hardware import (
    Accelerator,
    Machine,
    find_accelerator,
    find_machine,
    machines_with,
)
from recipec.catalog.prices import Offer
from recipec.cli.common import add_recipe
from recipec.cli.compile import read_lock
from recipec.cli.console import print_json, quiet_or_bars, table
from recipec.cli.frontend import load
from recipec.cli.members import members
from recipec.cli.outlook import (
    compare_table,
    deploy_table,
    footnote,
    machines_table,
    outlook_plain,
    outlook_table,
    quote_plain,
    shown_of,
    smallest_plain,
)
from recipec.cli.prices import prices_for
from recipec.cli.project import Project, find_project
from recipec.cli.sample import sample_rows
from recipec.errors import OK
from recipec.plan.outlook import Outlooks, Run
from recipec.plan.plan import Plan
from recipec.plan.quotes import Quote, best_of_each, compared, quotes, smallest
from recipec.progress import Progress
from recipec.recipe.schema import Recipe
from recipec.store import Store


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """One recipe with its plan."""

    plan: Plan
    outlooks: Outlooks

    @property
    def name(self) -> str:
        return self.plan.settings.name

    @property
    def recipe(self) -> Recipe:
        return self.outlooks.run.recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    parser.add_argument(
        "--compare",
        action="store_true",
        help="rank machines of all clouds by what the run costs there",
    )


def run(options: argparse.Namespace) -> int:
    """Print the plan, of a matrix each member's. It needs the model and the data, but no wheel."""
    project, store = find_project(options.recipe), Store()
    several, prices = members(project, store), prices_for(project)
    with quiet_or_bars(options.json) as bars:
        planned = [_planned(one, store, bars) for one in several]
    show, plain = (_compared, _compared_plain) if options.compare else (_shown, _plain)
    if options.json:
        rows = [plain(one, prices) for one in planned]
        named = [{"name": one.name, **row} for one, row in zip(planned, rows, strict=True)]
        print_json(rows[0] if several == (project,) else {"members": named})
        return OK
    print("\n\n".join(show(one, prices) for one in planned))
    return OK


def _planned(project: Project, store: Store, progress: Progress) -> _Planned:
    """Every decision about one recipe. No lock is written and no package fetched."""
    from recipec.cli.passes import lock_and_plan

    loaded = load(project, store)
    pinned, plan = lock_and_plan(
        loaded,
        old=read_lock(project),
        store=store,
        progress=progress,
        locked=False,
        fetch_packages=False,
    )
    train = next(file for file in pinned.lock.data if file.split == "train")
    return _Planned(
        plan=plan,
        outlooks=Outlooks(
            Run(
                recipe=loaded.recipe,
                settings=plan.settings,
                config=pinned.model.config,
                sample=sample_rows(pinned.sources[train.sha256], plan.settings.task),
            )
        ),
    )


def _own_device(planned: _Planned) -> Accelerator:
    found = find_accelerator(planned.recipe.hardware.accelerator)
    assert found is not None, "the rules have seen to it"
    return found


def _shown(planned: _Planned, prices: Mapping[str, Offer]) -> str:
    """The page of one recipe."""
    device, priced = _own_device(planned), []
    parts = [_table(planned.plan), _takes(planned, device)]
    if device.kind != "cpu":
        found = quotes(planned.outlooks, prices, _rented(planned, device))
        parts.append(machines_table(found))
        priced += shown_of(found)
    else:
        parts.append("  `recipec plan --compare` shows what it would take on other devices")
    deployed = _deployed(planned, prices)
    if deployed:
        parts.append(deploy_table(deployed, _hours(planned)))
        priced += deployed.values()
    if priced:
        parts.append(footnote(priced, targets=deployed))
    return "\n\n".join(parts)


def _takes(planned: _Planned, device: Accelerator) -> str:
    outlook = planned.outlooks.on(device)
    least = smallest(planned.outlooks) if outlook.memory is not None else None
    return outlook_table(outlook, planned.plan.settings, least)


def _rented(planned: _Planned, device: Accelerator) -> tuple[Machine, ...]:
    """The machines that have as many of the device as the recipe wants."""
    return machines_with(device.name, planned.plan.settings.hardware.processes)


def _hours(planned: _Planned) -> dict[str, float]:
    """The hours after which each target ends the run."""
    deploy = planned.recipe.deploy
    settings = deploy.settings() if deploy is not None else {}
    return {str(name): one.max_hours for name, one in settings.items()}


def _plain(planned: _Planned, prices: Mapping[str, Offer]) -> dict[str, Any]:
    device = _own_device(planned)
    found = quotes(planned.outlooks, prices, _rented(planned, device))
    outlook = planned.outlooks.on(device)
    return {
        "decisions": [asdict(decision) for decision in planned.plan.decisions],
        "settings": asdict(planned.plan.settings),
        "outlook": outlook_plain(outlook),
        "smallest": smallest_plain(smallest(planned.outlooks) if outlook.memory else None),
        "machines": [quote_plain(quote) for quote in found] if device.kind != "cpu" else [],
        "deploy": {name: quote_plain(q) for name, q in _deployed(planned, prices).items()},
    }


def _deployed(planned: _Planned, prices: Mapping[str, Offer]) -> dict[str, Quote]:
    """The run on the machine of each target whose machine the recipe names and we know."""
    deploy = planned.recipe.deploy
    found = {}
    for name, one in deploy.settings().items() if deploy is not None else ():
        machine = find_machine(one.machine) if one.machine else None
        if machine is not None:
            (found[str(name)],) = quotes(planned.outlooks, prices, [machine])
    return found


def _compared(planned: _Planned, prices: Mapping[str, Offer]) -> str:
    return compare_table(planned.name, best_of_each(compared(planned.outlooks, prices)))


def _compared_plain(planned: _Planned, prices: Mapping[str, Offer]) -> dict[str, Any]:
    return {"machines": [quote_plain(quote) for quote in compared(planned.outlooks, prices)]}


def _table(plan: Plan) -> str:
    rows = [
        (d.key, f"{_value(d.value)}{' ' + d.unit if d.unit else ''}", d.origin, d.reason)
        for d in plan.decisions
    ]
    return table(f"plan of {plan.settings.name}", rows, head=("key", "value", "from", "why"))


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
