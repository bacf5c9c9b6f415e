"""DVC stages, and their way into a dvc.yaml that belongs to the user."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from recipec.emit import dvc
from recipec.errors import RecipeError

PATHS = dvc.StagePaths(
    recipe="recipes/legal.yaml",
    lock="recipes/legal.lock.json",
    build="build/legal",
    train_inputs=("data/train.jsonl", "models/tiny"),
    evaluate_inputs=("data/test.jsonl", "models/tiny"),
)
STAGES = dvc.stages("legal", PATHS)
TEXT = """\
stages:
  legal-train:
    cmd: recipec run recipes/legal.yaml --stage train
    deps:
    - build/legal/image.digest
    - build/legal/train.py
    - data/train.jsonl
    - models/tiny
    - recipes/legal.lock.json
    outs:
    - build/legal/train/history.jsonl
    - build/legal/train/model
    - build/legal/train/receipt.json
    metrics:
    - build/legal/train/metrics.json
    plots:
    - build/legal/train/history.csv:
        x: step
        "y": loss
  legal-evaluate:
    cmd: recipec run recipes/legal.yaml --stage evaluate
    deps:
    - build/legal/evaluate.py
    - build/legal/image.digest
    - build/legal/train/model
    - data/test.jsonl
    - models/tiny
    - recipes/legal.lock.json
    outs:
    - build/legal/evaluate/predictions.jsonl
    - build/legal/evaluate/receipt.json
    metrics:
    - build/legal/evaluate/metrics.json
"""
SMALL: dict[str, dict[str, Any]] = {"mine": {"cmd": "new", "deps": ["a", "b"]}}
BLOCK = "mine:\n    cmd: new\n    deps:\n    - a\n    - b\n"


def merged(text: str, stages: dict[str, dict[str, Any]] = SMALL) -> str:
    return dvc.merge(text.encode(), stages, file="dvc.yaml").decode()


def loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def refusal(data: bytes) -> str:
    with pytest.raises(RecipeError) as caught:
        dvc.merge(data, SMALL, file="dvc.yaml")
    return caught.value.render()


def test_the_stages_of_a_recipe_in_a_new_file() -> None:
    assert dvc.merge(None, STAGES, file="dvc.yaml").decode() == TEXT
    assert loaded(TEXT) == {"stages": STAGES}


def test_every_output_of_training_that_evaluation_needs_is_a_dependency() -> None:
    assert "build/legal/train/model" in STAGES["legal-train"]["outs"]
    assert "build/legal/train/model" in STAGES["legal-evaluate"]["deps"]


def test_the_options_of_the_build_are_in_both_commands() -> None:
    paths = dvc.StagePaths(
        recipe="a b.yaml",
        lock="a b.lock.json",
        build="out/x",
        train_inputs=(),
        evaluate_inputs=(),
        options=" -o out",
    )
    made = dvc.stages("x", paths)
    assert made["x-train"]["cmd"] == "recipec run 'a b.yaml' --stage train -o out"
    assert made["x-evaluate"]["cmd"] == "recipec run 'a b.yaml' --stage evaluate -o out"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"stages:\n  {BLOCK}"),
        ("# only a comment\n", f"# only a comment\nstages:\n  {BLOCK}"),
        ("# no newline", f"# no newline\nstages:\n  {BLOCK}"),
        ("vars: [a]\n", f"vars: [a]\nstages:\n  {BLOCK}"),
        ("stages:\n", f"stages:\n  {BLOCK}"),
        ("stages:", f"stages:\n  {BLOCK}"),
        ("stages: # mine\nvars: []\n", f"stages: # mine\n  {BLOCK}vars: []\n"),
        ("stages:\n  # to do\nvars: []\n", f"stages:\n  {BLOCK}  # to do\nvars: []\n"),
        (
            "stages:\n  one:\n    cmd: x\n# tail\nvars: []\n",
            f"stages:\n  one:\n    cmd: x\n  {BLOCK}# tail\nvars: []\n",
        ),
        (
            "stages:\n  one:\n    cmd: |\n      x\n      # in the script\n\n# tail\n",
            f"stages:\n  one:\n    cmd: |\n      x\n      # in the script\n\n  {BLOCK}# tail\n",
        ),
        (
            "stages:\n  mine:\n    cmd: old\n  # two\n  two:\n    cmd: x\n",
            f"stages:\n  {BLOCK}  # two\n  two:\n    cmd: x\n",
        ),
        (
            "stages:\n  mine:\n    desc: my words\n    cmd: old\n    frozen: true\n",
            f"stages:\n  {BLOCK}    desc: my words\n    frozen: true\n",
        ),
        (
            "stages:\n  mine:  # about it\n    # on cmd\n    cmd: old\n    deps:\n    - z\n"
            "    # on z\n    - y\n\n    # on desc\n    desc: |\n      # text\n\n      x\n",
            f"stages:\n  {BLOCK}".replace("mine:", "mine:  # about it")
            + "    # on cmd\n    # on z\n\n    # on desc\n    desc: |\n      # text\n\n      x\n",
        ),
        # Fields further in than DVC writes them: ours go where the user's are
        (
            "stages:\n    mine:\n        cmd: old\n        desc: |\n          a\n",
            "stages:\n    mine:\n        cmd: new\n        deps:\n        - a\n        - b\n"
            "        desc: |\n          a\n",
        ),
        (
            "stages:\n  mine: {cmd: old, frozen: true}\n  two: {cmd: x}\n",
            f"stages:\n  {BLOCK}    frozen: true\n  two: {{cmd: x}}\n",
        ),
        ("stages:\n  mine:\n  two: {cmd: x}\n", f"stages:\n  {BLOCK}  two: {{cmd: x}}\n"),
        (
            "stages: {}\n# tail\n",
            'stages: {"mine": {"cmd": "new", "deps": ["a", "b"]}}\n# tail\n',
        ),
        (
            "stages: {two: {cmd: x}, }  # odd   spacing\n",
            'stages: {two: {cmd: x}, "mine": {"cmd": "new", "deps": ["a", "b"]}, }  # odd   spacing'
            "\n",
        ),
        (
            "{stages: {mine: {cmd: old, desc: words}, two: {cmd: x}}}",
            '{stages: {mine: {"cmd": "new", "deps": ["a", "b"], desc: words}, two: {cmd: x}}}',
        ),
        ("{vars: [a]}", '{vars: [a], "stages": {"mine": {"cmd": "new", "deps": ["a", "b"]}}}'),
        # The marks of an alias are its anchor's: the new stage still comes last
        (
            "vars:\n- x: &x {cmd: a}\nstages:\n  one:\n    <<: *x\n# tail\n",
            f"vars:\n- x: &x {{cmd: a}}\nstages:\n  one:\n    <<: *x\n  {BLOCK}# tail\n",
        ),
        (
            "stages:\n  one: &one\n    cmd: x\n  two: *one\n",
            f"stages:\n  one: &one\n    cmd: x\n  two: *one\n  {BLOCK}",
        ),
        ("\ufeffstages:\n  one: {cmd: x}\n", f"\ufeffstages:\n  one: {{cmd: x}}\n  {BLOCK}"),
    ],
)
def test_only_our_lines_change(before: str, after: str) -> None:
    assert merged(before) == after
    assert merged(after) == after
    assert loaded(after)["stages"]["mine"].items() >= SMALL["mine"].items()


def test_line_ends_of_the_file_are_kept_and_taken_over() -> None:
    before = "stages:\r\n  one:\r\n    cmd: x\r\n\r\nvars: []\r\n"
    after = merged(before)
    assert after.replace("\r\n", "\n") == f"stages:\n  one:\n    cmd: x\n  {BLOCK}\nvars: []\n"
    assert "\n" not in after.replace("\r\n", "")
    assert merged(after) == after


def test_a_line_separator_in_a_text_is_no_line_end() -> None:
    before = 'stages:\n  one:\n    desc: "a\u2028b\x85c"\n    cmd: x\n  two:\n    cmd: y\n'
    assert merged(before) == before + f"  {BLOCK}"


@pytest.mark.parametrize("path", ["über/daten.jsonl", "数据.jsonl", "😀.jsonl", 'a"b\\c', "null"])
def test_paths_of_every_script_come_back(path: str) -> None:
    stage = {"s": {"cmd": "x", "deps": [path], "plots": [{path: {"x": "a"}}]}}
    for before in ("", "stages: {}\n"):
        after = merged(before, stage)
        assert after.isascii()
        assert loaded(after)["stages"] == stage


@pytest.mark.parametrize("text", ["yes", "1e3", "0x10", "~", "- a", "a: b", "#a", "", " a", "*a"])
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    stage = {"s": {"cmd": text, "deps": [text]}}
    assert loaded(merged("", stage))["stages"] == stage


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"- a\n", "dvc.yaml:1:1: error: a dvc.yaml is a mapping"),
        (b"text\n", "dvc.yaml:1:1: error: a dvc.yaml is a mapping"),
        (b"a: 1\nstages: 5\n", "dvc.yaml:2:1: error: `stages` is not a mapping"),
        (b"stages:\n- a\n", "dvc.yaml:1:1: error: `stages` is not a mapping"),
        (b"a: 1\nb: [\n", "dvc.yaml:3:1: error: not valid YAML: "),
        (b"a: 1\n\tb: 2\n", "dvc.yaml:2:1: error: not valid YAML: "),
        (b"a: 1\nb: \xff\n", "dvc.yaml:2:1: error: not UTF-8"),
        (b"a: 1\nb: \x01\n", "dvc.yaml:2:1: error: not valid YAML: special characters"),
        (b"a: *b\n", "dvc.yaml:1:1: error: not valid YAML: found undefined alias"),
        (b"a: 1\n---\nb: 1\n", "dvc.yaml:2:1: error: not valid YAML: but found another document"),
    ],
)
def test_what_is_no_dvc_yaml_is_refused_with_its_line(data: bytes, message: str) -> None:
    text = refusal(data)
    assert text.startswith(message)
    assert "  hint: mend the file, or move it away; recipec writes its stages into it" in text


@pytest.mark.parametrize(
    "data",
    [
        b"a: 1\n...\n",  # what came after would be a second document
        b"stages:\n  mine: &m\n    cmd: old\n  two: *m\n",  # two would lose what it points to
    ],
)
def test_a_file_that_would_be_changed_elsewhere_is_refused(data: bytes) -> None:
    assert refusal(data) == (
        "dvc.yaml:1:1: error: recipec's stages cannot be put into this file without changing what"
        " is there\n"
        "  hint: write `stages:` on a line of its own, with a block for each stage and no anchor in"
        " recipec's own\n"
        "\n"
        "1 error"
    )


# What must always hold

_name = st.sampled_from(["one", "two", "three", "früh", "a.b", "'q r'"])
_comment = st.sampled_from(["", "# a comment\n", "\n", "   \n", "# mine: {cmd: x}\n", "#\ttab\n"])
_field = st.sampled_from(
    [
        "cmd: python x.py",
        'cmd: "a: b # c"  # why',
        "cmd: |\n{in}  line\n{in}\n{in}  # no comment\n{in}  \ttab",
        "cmd: >-\n{in}  folded\n{in}   more\n",
        "cmd:\n{in}- a\n{in}# between\n{in}- b",
        "deps: [a, b]",
        "deps:\n{in}  - a\n\n{in}  - b: {{x: y}}",
        "cmd: several\n{in}  lines of\n{in}  plain text",
        "desc: äöü 漢字",
        "outs:",
        "cmd: 'it''s'",
        "params:\n{in}- p.yaml:\n{in}    - lr",
    ]
)
_old_field = st.sampled_from(
    [
        "cmd: old",
        "deps:\n{in}- z",
        "deps:",
        "outs:",
        "desc: mine",
        "frozen: true",
        "meta:\n{in}  a: |\n{in}    # x",
    ]
)


@st.composite
def _stage(draw: st.DrawFn, name: str, indent: str, fields: st.SearchStrategy[str]) -> str:
    inner = indent + draw(st.sampled_from(["  ", "    "]))
    chosen = draw(st.lists(fields, min_size=1, max_size=4, unique_by=lambda f: f.split(":")[0]))
    text = "".join(
        f"{inner}{field.replace('{{', '{').replace('}}', '}').replace('{in}', inner)}\n"
        + draw(_comment)
        for field in chosen
    )
    return f"{indent}{name}:\n{text}"


@st.composite
def _files(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A dvc.yaml, and the stretches of it that must come through as they are."""
    indent = draw(st.sampled_from(["  ", "    ", " "]))
    names = draw(st.lists(_name, max_size=4, unique=True))
    kept = [draw(st.sampled_from(["", "# head\n\n", "vars:\n- a: 1  # b\n"])), "stages:\n"]
    stages = [draw(_comment) + draw(_stage(name, indent, _field)) for name in names]
    old = draw(st.booleans())
    at = draw(st.integers(0, len(stages)))
    mine = draw(_stage("mine", indent, _old_field)) if old else ""
    tail = draw(st.sampled_from(["", "# end\n", "plots:\n- x.csv\n", "\n# end\nparams: []\n"]))
    pieces = [*kept, *stages[:at], mine, *stages[at:], tail]
    text = "".join(pieces)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
        stages = [stage.replace("\n", "\r\n") for stage in stages]
    return text, [re.sub(r"([\r\n]+\s*(#.*)?)*$", "", stage) for stage in stages]


@given(_files())
def test_a_merge_keeps_every_byte_of_the_others_and_is_idempotent(
    made: tuple[str, list[str]],
) -> None:
    before, others = made
    after = merged(before)
    for stage in others:
        assert stage in after
    was = loaded(before if before.endswith("\n") else before + "\n") or {}
    now = loaded(after)
    stages = dict(was.get("stages") or {})
    mine = {k: v for k, v in (stages.pop("mine", None) or {}).items() if k not in SMALL["mine"]}
    assert now["stages"]["mine"] == {**mine, **SMALL["mine"]}
    assert {k: v for k, v in now["stages"].items() if k != "mine"} == stages
    assert {k: v for k, v in now.items() if k != "stages"} == {
        k: v for k, v in was.items() if k != "stages"
    }
    assert merged(after) == after
    for line in before.splitlines():
        if line.startswith("#"):
            assert line in after.splitlines()


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_stages = st.dictionaries(
    _texts,
    st.fixed_dictionaries(
        {
            "cmd": _texts,
            "deps": st.lists(_texts),
            "plots": st.lists(
                st.dictionaries(
                    _texts, st.fixed_dictionaries({"x": _texts}), min_size=1, max_size=1
                )
            ),
        }
    ),
    min_size=1,
    max_size=2,
)


@given(_stages, st.sampled_from(["", "stages: {}\n", "stages:\n  one:\n    cmd: x\n", "{a: 1}"]))
def test_stages_of_any_text_come_back_as_they_were(
    stages: dict[str, dict[str, Any]], before: str
) -> None:
    after = merged(before, stages)
    expected = {**((loaded(before) or {}).get("stages") or {}), **stages}
    found = loaded(after)["stages"]
    if "one" in stages:
        found["one"] = {k: found["one"][k] for k in stages["one"]}
    assert found == expected
    assert merged(after, stages) == after


@given(
    st.binary(max_size=60) | st.text("stage:mn{}[]#|> -\n\t&*?!'\"", max_size=60).map(str.encode)
)
def test_any_bytes_are_merged_or_refused(data: bytes) -> None:
    try:
        after = dvc.merge(data, SMALL, file="dvc.yaml")
    except RecipeError:
        return
    assert dvc.merge(after, SMALL, file="dvc.yaml") == after


# DVC itself

TRAINED = ["history.jsonl", "model", "receipt.json", "metrics.json", "history.csv"]
EVALUATED = ["predictions.jsonl", "receipt.json", "metrics.json"]
RECIPEC = f"""#!/bin/sh
echo "$*" >> log
stage=$4
case $stage in train) names="{" ".join(TRAINED)}";; *) names="{" ".join(EVALUATED)}";; esac
mkdir -p build/legal/$stage
for name in $names; do echo '{{"loss": 1}}' > build/legal/$stage/$name; done
"""
"""A command with recipec's arguments that only writes the outputs: what DVC does is tested here."""


def run_dvc(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dvc_runs_the_stages_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    run_dvc(tmp_path, "init", "--no-scm", "--quiet")
    before = b"# mine\nstages:\n  prepare:\n    cmd: echo hello\n"
    (tmp_path / "dvc.yaml").write_bytes(dvc.merge(before, STAGES, file="dvc.yaml"))
    for path in {path for stage in STAGES.values() for path in stage["deps"]}:
        if not path.startswith("build/legal/train/"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("x")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "recipec").write_text(RECIPEC)
    (tmp_path / "bin" / "recipec").chmod(0o755)
    listed = [line.split()[0] for line in run_dvc(tmp_path, "stage", "list").splitlines()]
    assert listed == ["prepare", "legal-train", "legal-evaluate"]

    run_dvc(tmp_path, "repro", "legal-evaluate")
    both = [f"run recipes/legal.yaml --stage {stage}" for stage in ("train", "evaluate")]
    assert (tmp_path / "log").read_text().splitlines() == both
    run_dvc(tmp_path, "repro", "legal-evaluate")
    assert (tmp_path / "log").read_text().splitlines() == both
    (tmp_path / "build/legal/evaluate.py").write_text("another")
    run_dvc(tmp_path, "repro", "legal-evaluate")
    assert (tmp_path / "log").read_text().splitlines() == [*both, both[1]]
    assert "build/legal/train/metrics.json" in run_dvc(tmp_path, "metrics", "show")
