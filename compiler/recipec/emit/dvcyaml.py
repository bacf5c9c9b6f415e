"""Stages put into a dvc.yaml that may hold others.

In: the bytes of a dvc.yaml, and stages of plain values. Out: the new bytes: only the lines of these
stages differ, every other byte is kept, comments included. It knows nothing of recipes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from recipec.emit.yamltext import flow, indented, line_end, quoted, split_lines, with_newline
from recipec.errors import Diagnostic, RecipeError

Stage = dict[str, Any]


def merge(
    existing: bytes | None,
    wanted: Mapping[str, Stage],
    *,
    file: str,
    without: Sequence[str] = (),
) -> bytes:
    """The dvc.yaml with these stages in it, and those of `without` out of it.

    Raises RecipeError when it is not a dvc.yaml, or one whose other parts would not stay as they
    are: the result is read back and compared before it is handed out.
    """
    mark, before = _decoded(existing, file)
    text = _drop(before, without, file) if without else before
    text = _merge_all(text, wanted, file)
    if text != before and not _kept(with_newline(before, "\n"), text, wanted, without, file):
        raise _not_dvc(
            file,
            1,
            "recipec's stages cannot be put into this file without changing what is there",
            "write `stages:` on a line of its own, with a block for each stage and no anchor in"
            " recipec's own",
        )
    return (mark + text).encode("utf-8")


def commands(existing: bytes, *, file: str) -> dict[str, str]:
    """The command of each stage that has one in a single text. Raises RecipeError like `merge`."""
    every = {name: stage.get("cmd") for name, stage in _stages(existing, file).items()}
    return {name: command for name, command in every.items() if isinstance(command, str)}


def dependencies(existing: bytes, *, file: str) -> dict[str, list[str]]:
    """The paths that each stage depends on. Raises RecipeError like `merge`."""
    every = {name: stage.get("deps") for name, stage in _stages(existing, file).items()}
    return {
        name: [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
        for name, paths in every.items()
    }


def _stages(existing: bytes, file: str) -> dict[str, dict[str, Any]]:
    """The stages of a dvc.yaml, scalars as text."""
    _, text = _decoded(existing, file)
    root = _compose(text, file)
    stages = _child(root, "stages") if root is not None else None
    plain = _plain(stages[1]) if stages is not None else None
    found = plain.items() if isinstance(plain, dict) else ()
    return {name: stage for name, stage in found if isinstance(stage, dict)}


def _decoded(existing: bytes | None, file: str) -> tuple[str, str]:
    """The byte order mark, if there is one, and the text."""
    try:
        text = (existing or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        line = (existing or b"").count(b"\n", 0, error.start) + 1
        raise _not_dvc(file, line, "not UTF-8") from None
    return ("\ufeff" if text.startswith("\ufeff") else ""), text.removeprefix("\ufeff")


def _merge_all(text: str, wanted: Mapping[str, Stage], file: str) -> str:
    """All stages at once where there is a block to put them into: parsing a long file is slow."""
    rest = dict(wanted)
    while rest:
        root = _compose(text, file)
        found = _child(root, "stages") if root is not None and not root.flow_style else None
        if found is not None and _is_block(found[1]):
            return _into_block(text, found[1], rest)
        name = next(iter(rest))
        text = _merge_one(text, name, rest.pop(name), file)
    return text


def _is_block(node: Any) -> bool:
    filled = not isinstance(node.value, str) and not node.flow_style and bool(node.value)
    return filled and isinstance(node.value[0], tuple)


def _drop(text: str, names: Sequence[str], file: str) -> str:
    """The text without these stages; comments around them stay."""
    root = _compose(text, file)
    found = _child(root, "stages") if root is not None else None
    pairs = found[1].value if found is not None else []
    places = [
        i for i, pair in enumerate(pairs) if isinstance(pair, tuple) and pair[0].value in names
    ]
    if found is None or not places:
        return text
    if root.flow_style or found[1].flow_style:
        without = _drop_from_flow(text, pairs, places[-1])
        return _drop(without, names, file) if len(places) > 1 else without
    lines = split_lines(text)
    for key, value in (pairs[place] for place in reversed(places)):
        del lines[key.start_mark.line : _pair_end(key, value) + 1]
    return "".join(lines)


def _drop_from_flow(text: str, pairs: Sequence[Any], place: int) -> str:
    """The text without one entry of `{...}`, and without the comma beside it."""
    first, last = pairs[place][0].start_mark.index, pairs[place][1].end_mark.index
    if place:
        first = pairs[place - 1][1].end_mark.index
    elif len(pairs) > 1:
        last = pairs[1][0].start_mark.index
    return text[:first] + text[last:]


def _merge_one(text: str, name: str, stage: Stage, file: str) -> str:
    root = _compose(text, file)
    if root is not None and root.flow_style:
        stages = _child(root, "stages")
        if stages is None:
            return _into_flow(text, root, "stages", {name: stage})
        return _into_stages(text, *stages, name, stage, file)
    found = _child(root, "stages") if root is not None else None
    if found is None:
        lead = " " * (root.start_mark.column if root is not None else 0)
        end = line_end(text)
        block = indented(name, stage, len(lead) + 2, end=end)
        return f"{with_newline(text, end)}{lead}stages:{end}{block}"
    return _into_stages(text, *found, name, stage, file)


def _into_stages(text: str, key: Any, node: Any, name: str, stage: Stage, file: str) -> str:
    if not isinstance(node.value, str) and node.flow_style:
        return _into_flow(text, node, name, stage)
    if isinstance(node.value, str):
        if node.value:
            raise _not_dvc(file, key.start_mark.line + 1, "`stages` is not a mapping")
        lines, end = split_lines(text), line_end(text)
        at = key.start_mark.line
        block = indented(name, stage, key.start_mark.column + 2, end=end)
        return "".join([*lines[:at], with_newline(lines[at], end), block, *lines[at + 1 :]])
    if not isinstance(node.value[0], tuple):
        raise _not_dvc(file, key.start_mark.line + 1, "`stages` is not a mapping")
    return _into_block(text, node, {name: stage})


def _into_block(text: str, node: Any, wanted: Mapping[str, Stage]) -> str:
    """Replace the stages' own lines, and put new ones after the last stage."""
    end = line_end(text)
    lines = split_lines(with_newline(text, end))
    indent = node.value[0][0].start_mark.column
    present = {key.value: (key, value) for key, value in reversed(node.value)}
    absent = {name: stage for name, stage in wanted.items() if name not in present}
    edits = []
    for name in [name for name in wanted if name in present]:
        key, value = present[name]
        here, stage = _plain(value), wanted[name]
        if not isinstance(here, dict) or {k: here.get(k) for k in stage} != stage:
            made = _block_anew(text, lines, key, value, name, stage, indent, end)
            edits.append((key.start_mark.line, _pair_end(key, value), made))
    if not edits and not absent:
        return text
    if absent:
        last = max(_last_line(node), _last_content(lines, node.end_mark))
        made = [indented(name, stage, indent, end=end) for name, stage in absent.items()]
        edits.append((last + 1, last, made))
    # From the bottom up, so that the lines above keep their numbers.
    for first, last, made in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        lines[first : last + 1] = made
    return "".join(lines)


def _block_anew(
    text: str,
    lines: list[str],
    key: Any,
    value: Any,
    name: str,
    stage: Stage,
    indent: int,
    end: str,
) -> list[str]:
    """The lines of a stage that is there and says something else, with what its users added."""
    first, last = key.start_mark.line, _pair_end(key, value)
    mapping = isinstance(_plain(value), dict)
    inner = value.value[0][0].start_mark.column - indent if mapping and value.value else 0
    if inner < 1 or value.flow_style:
        own = _own_in_flow(text, value, stage, " " * (indent + 2), end)
        return [indented(name, stage, indent, 2, end), *own]
    # The line of the key stays, with its comment.
    made = lines[first] + indented(name, stage, indent, inner, end).split(end, 1)[1]
    return [made, *_own_lines(lines[: last + 1], key, value, stage)]


def _own_lines(lines: list[str], key: Any, value: Any, stage: Stage) -> list[str]:
    """What users added to our stage: comments, and keys such as `desc` or `frozen`."""
    kept = dict(enumerate(lines[key.start_mark.line + 1 :], key.start_mark.line + 1))
    for name, item in value.value:
        if name.value not in stage:
            continue
        for number in range(name.start_mark.line, _pair_end(name, item) + 1):
            comment = lines[number].lstrip().startswith("#")
            if isinstance(item.value, str) or not comment:
                kept.pop(number, None)
    return list(kept.values())


def _own_in_flow(text: str, value: Any, stage: Stage, lead: str, end: str) -> list[str]:
    """The same for a stage written as `{...}`: its own keys, each on a line."""
    if isinstance(value.value, str) or not value.value or not isinstance(value.value[0], tuple):
        return []
    return [
        f"{lead}{text[key.start_mark.index : item.end_mark.index]}{end}"
        for key, item in value.value
        if key.value not in stage
    ]


def _into_flow(text: str, node: Any, name: str, stage: Stage) -> str:
    """Put a key into `{...}`, or give it another value there; nothing else moves."""
    for key, value in node.value:
        if key.value != name:
            continue
        here = _plain(value)
        if isinstance(here, dict) and {k: here.get(k) for k in stage} == stage:
            return text
        made = flow(stage)
        if isinstance(here, dict):
            own = [
                text[k.start_mark.index : v.end_mark.index]
                for k, v in value.value
                if k.value not in stage
            ]
            made = "{" + ", ".join([made[1:-1], *own]) + "}"
        return f"{text[: value.start_mark.index]}{made}{text[value.end_mark.index :]}"
    entry = f"{quoted(name)}: {flow(stage)}"
    if not node.value:
        at = text.index("{", node.start_mark.index) + 1
        return f"{text[:at]}{entry}{text[at:]}"
    at = node.value[-1][1].end_mark.index
    return f"{text[:at]}, {entry}{text[at:]}"


@lru_cache(maxsize=2)
def _compose(text: str, file: str) -> Any:
    """The root node, or None for a file that says nothing; nobody changes it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.nodes import MappingNode

    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _not_dvc(file, line, f"not valid YAML: {error.problem}") from None
    except YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0) or 0) + 1
        reason = getattr(error, "reason", "cannot be read")
        raise _not_dvc(file, line, f"not valid YAML: {reason}") from None
    if root is None or (isinstance(root.value, str) and root.value in {"", "~", "null"}):
        return None
    if not isinstance(root, MappingNode):
        raise _not_dvc(file, 1, "a dvc.yaml is a mapping")
    return root


def _kept(
    before: str, after: str, wanted: Mapping[str, Stage], without: Sequence[str], file: str
) -> bool:
    """Whether the new text holds our stages, and all else as it was."""
    try:
        old, new = _compose(before, file), _compose(after, file)
        found = _child(new, "stages")
        plain = _plain(found[1]) if found is not None else None
        made = plain if isinstance(plain, dict) else {}
        ours = all(
            isinstance(made.get(name), dict) and {k: made[name].get(k) for k in stage} == stage
            for name, stage in wanted.items()
        )
        return ours and _rest(old, wanted, without) == _rest(new, wanted, without)
    except (RecipeError, RecursionError):
        return False


def _rest(root: Any, wanted: Mapping[str, Stage], without: Sequence[str]) -> list[Any]:
    """What a dvc.yaml says beside our stages and those that go, in its order."""
    rest: list[Any] = []
    for key, value in root.value if root is not None else ():
        if key.value != "stages" or isinstance(value.value, str):
            rest += [(_tree(key), _tree(value))] if key.value != "stages" else []
            continue
        for name, stage in value.value:
            ours = wanted.get(name.value)
            if ours is None and name.value in without:
                continue
            if ours is None:
                rest.append((_tree(name), _tree(stage)))
            elif not isinstance(stage.value, str):
                rest += [(_tree(k), _tree(v)) for k, v in stage.value if k.value not in ours]
    return rest


def _tree(node: Any) -> Any:
    """A node as nested tuples of tags and texts."""
    if isinstance(node.value, str):
        return (str(node.tag), node.value)
    if node.value and isinstance(node.value[0], tuple):
        return (str(node.tag), *((_tree(key), _tree(value)) for key, value in node.value))
    return (str(node.tag), *map(_tree, node.value))


def _not_dvc(file: str, line: int, message: str, hint: str = "") -> RecipeError:
    hint = hint or "mend the file, or move it away; recipec writes its stages into it"
    return RecipeError([Diagnostic(file=file, line=line, column=1, message=message, hint=hint)])


def _child(node: Any, name: str) -> tuple[Any, Any] | None:
    return next(((k, v) for k, v in node.value if k.value == name), None)


def _plain(node: Any) -> Any:
    """The values of a node, scalars as text: a stage of ours has nothing else."""
    if isinstance(node.value, str):
        return node.value
    if node.value and isinstance(node.value[0], tuple):
        return {key.value: _plain(value) for key, value in node.value if isinstance(key.value, str)}
    return [_plain(item) for item in node.value]


def _last_line(node: Any) -> int:
    """The last line that a node's own text stands on; its end mark would lie past the comments."""
    if node.value == "" and node.style is None:
        return -1  # nothing stands there: its marks are the next token's
    if isinstance(node.value, str) or node.flow_style or not node.value:
        end = node.end_mark
        return int(end.line if end.column or not isinstance(node.value, str) else end.line - 1)
    last = node.value[-1]
    return _pair_end(*last) if isinstance(last, tuple) else _last_line(last)


def _pair_end(key: Any, value: Any) -> int:
    """The last line of a key and its value."""
    return max(int(key.end_mark.line), _last_line(value))


def _last_content(lines: Sequence[str], end: Any) -> int:
    """The last line before `end` that is neither blank nor a comment.

    An alias has the marks of its anchor, so the last node's own line may be far above.
    """
    line = int(end.line if end.column else end.line - 1)
    while line > 0 and (not lines[line].strip() or lines[line].lstrip().startswith("#")):
        line -= 1
    return line
