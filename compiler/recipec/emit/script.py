"""train.py, evaluate.py, run.json and the model card of one recipe.

In: `Settings` and `Lock`. Out: a `Bundle`. Task, method and training each add a `Part`; everything
that a template needs beyond the settings is worded there, so the templates hold no logic past if
and for over ready fields.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any

from recipec.emit.bundle import Bundle
from recipec.emit.card import front_matter
from recipec.emit.device import device_part
from recipec.emit.literal import assignment, literal, markdown, prose
from recipec.emit.methods import method_part
from recipec.emit.model import model_part
from recipec.emit.parallel import parallel_part
from recipec.emit.part import import_lines
from recipec.emit.run_json import run_json
from recipec.emit.tasks import task_part
from recipec.emit.training import training_part
from recipec.fingerprint import package_folder
from recipec.pins.lockfile import Lock
from recipec.plan.plan import Settings

if TYPE_CHECKING:
    from jinja2 import Environment


def emit_bundle(settings: Settings, lock: Lock) -> Bundle:
    """The scripts, run.json and model card of a recipe: the same bytes for the same arguments."""
    context = _context(settings)
    files = {
        name: render(f"{name}.j2", context).encode("ascii") for name in ("train.py", "evaluate.py")
    }
    card = front_matter(settings) + render("card.md.j2", context)
    files["README.md"] = card.encode("utf-8")
    files["run.json"] = run_json(settings, lock, files)
    return Bundle.of(files)


def _context(settings: Settings) -> dict[str, Any]:
    parts = (
        task_part(settings),
        model_part(settings),
        method_part(settings),
        training_part(settings),
        device_part(settings),
        parallel_part(settings),
    )
    words = {name: word for part in parts for name, word in part.words.items()}
    return {
        **{f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)},
        **words,
        "standard_imports": sorted(module for part in parts for module in part.standard),
        "imports": import_lines(part.train for part in parts),
        "evaluate_imports": import_lines(part.evaluate for part in parts),
    }


def render(template: str, context: dict[str, Any]) -> str:
    """A template with these words; a word that it lacks is an error."""
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from recipec.emit.bytecode import TemplateCache

    environment = Environment(
        loader=FileSystemLoader(package_folder("recipec_templates")),
        bytecode_cache=TemplateCache(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {
        "py": literal,
        "assign": assignment,
        "prose": prose,
        "md": markdown,
    }
    return environment
