"""The DVC stages of a recipe, and their place in the project's dvc.yaml.

In: names and paths, and the bytes of a dvc.yaml that may hold other stages. Out: the new bytes:
only the lines of this recipe's stages differ, every other byte is kept, comments included.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipec.errors import Diagnostic, RecipeError

Stage = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class StagePaths:
    """Paths relative to dvc.yaml, with forward slashes."""

    recipe: str
    lock: str
    build: str
    """The recipe's build folder."""
    train_inputs: tuple[str, ...]
    """Data and model paths that training reads from the project."""
    evaluate_inputs: tuple[str, ...]
    options: str = ""
    """What `recipec run` needs beside the recipe, such as ` -o DIR`."""


def stages(name: str, paths: StagePaths) -> dict[str, Stage]:
    """`NAME-train` and `NAME-evaluate`. The image comes in by a file that holds its digest."""
    build = paths.build
    trained = f"{build}/train"
    evaluated = f"{build}/evaluate"
    digest = f"{build}/image.digest"
    return {
        f"{name}-train": {
            "cmd": f"recipec run {_quoted(paths.recipe)} --stage train{paths.options}",
            "deps": sorted({f"{build}/train.py", digest, paths.lock, *paths.train_inputs}),
            "outs": [f"{trained}/history.jsonl", f"{trained}/model", f"{trained}/receipt.json"],
            "metrics": [f"{trained}/metrics.json"],
            "plots": [{f"{trained}/history.csv": {"x": "step", "y": "loss"}}],
        },
        f"{name}-evaluate": {
            "cmd": f"recipec run {_quoted(paths.recipe)} --stage evaluate{paths.options}",
            "deps": sorted(
                {
                    f"{build}/evaluate.py",
                    digest,
                    paths.lock,
                    f"{trained}/model",
                    *paths.evaluate_inputs,
                }
            ),
            "outs": [f"{evaluated}/predictions.jsonl", f"{evaluated}/receipt.json"],
            "metrics": [f"{evaluated}/metrics.json"],
        },
    }


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def merge(existing: bytes | None, wanted: Mapping[str, Stage], *, file: str) -> bytes:
    """The dvc.yaml with these stages in it. Raises RecipeError when it is not a dvc.yaml."""
    text = (existing or b"").decode("utf-8")
    for name, stage in wanted.items():
        text = _merge_one(text, name, stage, file)
    return text.encode("utf-8")


def _merge_one(text: str, name: str, stage: Stage, file: str) -> str:
    root = _compose(text, file)
    if root is None:
        return f"{_with_newline(text)}stages:\n{_indented(name, stage, 2)}"
    found = _child(root, "stages")
    if found is None:
        return f"{_with_newline(text)}stages:\n{_indented(name, stage, 2)}"
    key, node = found
    if not hasattr(node, "value") or isinstance(node.value, str):
        if node.value:
            raise _not_dvc(file, key.start_mark.line + 1, "`stages` is not a mapping")
        lines = text.splitlines(keepends=True)
        at = key.start_mark.line
        block = [_with_newline(lines[at].rstrip("\n")), _indented(name, stage, 2)]
        return "".join(lines[:at] + block + lines[at + 1 :])
    if node.flow_style or not node.value:
        return _rewritten(text, name, stage)
    return _spliced(text, node, name, stage)


def _spliced(text: str, node: Any, name: str, stage: Stage) -> str:
    """Replace the stage's own lines, or put new ones after the last stage."""
    lines = _with_newline(text).splitlines(keepends=True)
    indent = node.value[0][0].start_mark.column
    block = [_indented(name, stage, indent)]
    for key, value in node.value:
        if key.value != name:
            continue
        here = _plain(value)
        if isinstance(here, dict) and {k: here.get(k) for k in stage} == stage:
            return text
        first, last = key.start_mark.line, _last_line(value)
        return "".join(
            [*lines[:first], *block, *_users_own(value, stage, lines), *lines[last + 1 :]]
        )
    last = _last_line(node.value[-1][1])
    return "".join(lines[: last + 1] + block + lines[last + 1 :])


def _users_own(value: Any, stage: Stage, lines: list[str]) -> list[str]:
    """The lines of keys that users added to our stage, such as `desc` or `frozen`."""
    if isinstance(value.value, str) or value.flow_style:
        return []
    return [
        line
        for key, item in value.value
        if key.value not in stage
        for line in lines[key.start_mark.line : _last_line(item) + 1]
    ]


def _rewritten(text: str, name: str, stage: Stage) -> str:
    """For `stages: {...}` in flow style: ruamel.yaml keeps values and comments."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(text)
    if document["stages"].get(name) == stage:
        return text
    document["stages"][name] = stage
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _compose(text: str, file: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.nodes import MappingNode

    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _not_dvc(file, line, f"not valid YAML: {error.problem}") from None
    if root is not None and not isinstance(root, MappingNode):
        raise _not_dvc(file, 1, "a dvc.yaml is a mapping")
    return root


def _not_dvc(file: str, line: int, message: str) -> RecipeError:
    hint = "mend the file, or move it away; recipec writes its stages into it"
    return RecipeError([Diagnostic(file=file, line=line, column=1, message=message, hint=hint)])


def _child(node: Any, name: str) -> tuple[Any, Any] | None:
    return next(((k, v) for k, v in node.value if k.value == name), None)


def _plain(node: Any) -> Any:
    """The values of a node, scalars as text: a stage of ours has nothing else."""
    if isinstance(node.value, str):
        return node.value
    if node.value and isinstance(node.value[0], tuple):
        return {key.value: _plain(value) for key, value in node.value}
    return [_plain(item) for item in node.value]


def _last_line(node: Any) -> int:
    """The last line that a node's own text stands on; its end mark would lie past the comments."""
    if isinstance(node.value, str) or node.flow_style or not node.value:
        end = node.end_mark
        return int(end.line if end.column or not isinstance(node.value, str) else end.line - 1)
    last = node.value[-1]
    return _last_line(last[1] if isinstance(last, tuple) else last)


def _indented(name: str, stage: Stage, indent: int) -> str:
    lead = " " * indent
    return "".join(f"{lead}{line}\n" for line in [f"{_scalar(name)}:", *_block(stage, 2)])


def _block(value: Any, indent: int) -> list[str]:
    """A plain mapping in block style, the way DVC itself writes it."""
    lead = " " * indent
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{lead}{_scalar(key)}:", *_block(item, indent + 2)]
        elif isinstance(item, list):
            lines.append(f"{lead}{_scalar(key)}:")
            for entry in item:
                if isinstance(entry, dict):
                    inner = _block(entry, indent + 2)
                    lines += [f"{lead}- {inner[0].lstrip()}", *inner[1:]]
                else:
                    lines.append(f"{lead}- {_scalar(entry)}")
        else:
            lines.append(f"{lead}{_scalar(key)}: {_scalar(item)}")
    return lines


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./ ")


def _scalar(text: str) -> str:
    plain = set(text) <= _PLAIN and text[:1].isalpha() and text == text.strip()
    words = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    return text if plain and text.lower() not in words else json.dumps(text)


def _with_newline(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"
