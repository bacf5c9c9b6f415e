"""check: every mistake at once, each at its place, with a way out."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec.errors import RecipeError
from recipec.recipe import schema
from recipec.recipe.check import MAX_PROBLEMS, check
from recipec.recipe.json_schema import json_schema
from recipec.recipe.read import read
from recipec.recipe.schema import Recipe

HEAD = """\
name: legal
task: {type: summarization}
domain: {data: {train: train.jsonl, test: test.jsonl}}
architecture: {model: "path:m"}
"""


def checked(text: str) -> Recipe:
    return check(read(text.encode(), "r.yaml"))


def said(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        checked(text)
    return caught.value.render()


def one(text: str) -> str:
    """The only diagnostic of HEAD and `text`, without the source line."""
    lines = said(HEAD + text).splitlines()
    assert lines[-1] == "1 error"
    return "\n".join(line for line in lines[:-2] if " | " not in line)


def test_the_least_recipe_takes_every_default() -> None:
    recipe = checked(HEAD)
    assert recipe.recipe == "v1"
    assert recipe.method.type == "lora"
    assert recipe.method.rank is None
    assert recipe.training.schedule == "cosine"
    assert recipe.hardware.threads == 1
    assert recipe.reproducibility is None


def test_whole_numbers_stand_for_numbers() -> None:
    recipe = checked(HEAD + "training: {weight_decay: 0, learning_rate: 1, max_grad_norm: 5}\n")
    assert (recipe.training.weight_decay, recipe.training.learning_rate) == (0.0, 1.0)
    big = checked(HEAD + f"training: {{max_grad_norm: {10**60}}}\n")
    assert big.training.max_grad_norm == 1e60


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # wrong types
        (
            'training: {batch_size: "16"}',
            "r.yaml:5:24: error: `training.batch_size` is '16'; it is a whole number\n"
            "  hint: remove the quotes: 16",
        ),
        (
            "training: {batch_size: 1_000}",
            "r.yaml:5:24: error: `training.batch_size` is '1_000'; it is a whole number\n"
            "  hint: write 1000",
        ),
        (
            "training: {batch_size: 3.0}",
            "r.yaml:5:24: error: `training.batch_size` is 3.0; it is a whole number\n"
            "  hint: write 3",
        ),
        (
            "training: {batch_size: 1e300}",
            "r.yaml:5:24: error: `training.batch_size` is 1e+300; it is a whole number\n"
            "  hint: Rows per optimizer step, over all devices.",
        ),
        (
            "training: {batch_size: 3.5}",
            "r.yaml:5:24: error: `training.batch_size` is 3.5; it is a whole number\n"
            "  hint: Rows per optimizer step, over all devices.",
        ),
        (
            "training: {batch_size: true}",
            "r.yaml:5:24: error: `training.batch_size` is true; it is a whole number\n"
            "  hint: Rows per optimizer step, over all devices.",
        ),
        (
            "training: {learning_rate: false}",
            "r.yaml:5:27: error: `training.learning_rate` is false; it is a number\n"
            "  hint: Peak learning rate.",
        ),
        (
            "training: {learning_rate: 'nan'}",
            "r.yaml:5:27: error: `training.learning_rate` is 'nan'; it is a number\n"
            "  hint: Peak learning rate.",
        ),
        (
            "training: {learning_rate: '1e-3'}",
            "r.yaml:5:27: error: `training.learning_rate` is '1e-3'; it is a number\n"
            "  hint: remove the quotes: 1e-3",
        ),
        (
            "training: [1]",
            "r.yaml:5:11: error: `training` is a list; it is a section (a mapping)\n"
            "  hint: The knobs of training.",
        ),
        (
            "training: fast",
            "r.yaml:5:11: error: `training` is 'fast'; it is a section (a mapping)\n"
            "  hint: The knobs of training.",
        ),
        (
            "training:\n  batch_size:\n    rows: 3",
            "r.yaml:7:5: error: `training.batch_size` is a section (a mapping); it is a whole"
            " number\n"
            "  hint: Rows per optimizer step, over all devices.",
        ),
        (
            "method: {target_modules: q}",
            "r.yaml:5:26: error: `method.target_modules` is 'q'; it is a list\n"
            "  hint: put it in brackets to make it a list: [q]",
        ),
        (
            "method: {target_modules: '[q, 5]'}",
            "r.yaml:5:26: error: `method.target_modules` is '[q, 5]'; it is a list\n"
            "  hint: Names of the linear layers to adapt (lora, qlora, ia3); every linear layer of"
            " the blocks if left out.",
        ),
        (
            "method: {target_modules: [q, 5]}",
            "r.yaml:5:30: error: `method.target_modules[1]` is 5; it is text\n"
            "  hint: put it in quotes to make it text",
        ),
        (
            "evaluation: {at_least: {loss: high}}",
            "r.yaml:5:31: error: `evaluation.at_least.loss` is 'high'; it is a number",
        ),
        (
            "image: {versions: {torch: 2.13}}",
            "r.yaml:5:27: error: `image.versions.torch` is 2.13; it is text\n"
            "  hint: put it in quotes to make it text",
        ),
        # null
        (
            "training:",
            "r.yaml:5:1: error: `training` is empty; it is a section (a mapping)\n"
            "  hint: give it a value, or remove the line to take the default",
        ),
        (
            "training:\n  seed:",
            "r.yaml:6:3: error: `training.seed` is empty; it is a whole number\n"
            "  hint: give it a value, or remove the line to take the default",
        ),
        (
            "method: {type: null}",
            "r.yaml:5:16: error: `method.type` is empty; it is text\n"
            "  hint: give it a value, or remove the line to take the default",
        ),
        (
            "method: {rank: ~}",
            "r.yaml:5:16: error: `method.rank` is empty; it is a whole number\n"
            "  hint: give it a value, or remove the line to take the default",
        ),
        # enums and constants
        (
            "method: {type: lroa}",
            "r.yaml:5:16: error: `method.type` is 'lroa'; it is one of: bottleneck, full, ia3,"
            " layernorm, lora, prefix, prompt, qlora\n"
            "  hint: did you mean `lora`?",
        ),
        (
            "training: {schedule: 5}",
            "r.yaml:5:22: error: `training.schedule` is 5; it is one of: constant, cosine,"
            " inverse-sqrt, linear, polynomial, warmup-stable-decay\n"
            "  hint: How the learning rate moves after warmup.",
        ),
        (
            "recipe: v2",
            "r.yaml:5:9: error: `recipe` is 'v2'; it is v1\n"
            "  hint: Version of the recipe language.",
        ),
        (
            "hardware: {accelerator: H100}",
            "r.yaml:5:25: error: no accelerator called 'H100' is known\n"
            "  hint: did you mean `nvidia-h100-80gb` or `nvidia-h100-nvl-94gb`?",
        ),
        (
            "method: {type: LoRA}",
            "r.yaml:5:16: error: `method.type` is 'LoRA'; it is one of: bottleneck, full, ia3,"
            " layernorm, lora, prefix, prompt, qlora\n"
            "  hint: did you mean `lora`?",
        ),
        (
            "evaluation: {metrics: [rouge1, rougeX]}",
            "r.yaml:5:32: error: `evaluation.metrics[1]` is 'rougeX'; it is one of: accuracy,"
            " bleu, chrf, exact_match, f1, perplexity, precision, recall, rouge1, rouge2, rougeL\n"
            "  hint: did you mean `rougeL`?",
        ),
        # ranges
        (
            "training: {batch_size: 0}",
            "r.yaml:5:24: error: `training.batch_size` is 0; it is at least 1\n"
            "  hint: Rows per optimizer step, over all devices.",
        ),
        (
            "training: {learning_rate: 0}",
            "r.yaml:5:27: error: `training.learning_rate` is 0; it is above 0\n"
            "  hint: Peak learning rate.",
        ),
        (
            "training: {learning_rate: 101.5}",
            "r.yaml:5:27: error: `training.learning_rate` is 101.5; it is at most 100\n"
            "  hint: Peak learning rate.",
        ),
        (
            "training: {label_smoothing: 1}",
            "r.yaml:5:29: error: `training.label_smoothing` is 1; it is below 1\n"
            "  hint: Label smoothing of the cross-entropy.",
        ),
        (
            "training: {seed: 4294967296}",
            "r.yaml:5:18: error: `training.seed` is 4294967296; it is below 4294967296\n"
            "  hint: Seed of everything random.",
        ),
        # empty
        (
            "method: {target_modules: []}",
            "r.yaml:5:26: error: `method.target_modules` is empty\n"
            "  hint: Names of the linear layers to adapt (lora, qlora, ia3); every linear layer of"
            " the blocks if left out.",
        ),
        # unknown keys
        (
            "trainng: {seed: 1}",
            "r.yaml:5:1: error: unknown key `trainng` in a recipe\n"
            "  hint: did you mean `training`?",
        ),
        (
            "training: {Batch-Size: 1}",
            "r.yaml:5:12: error: unknown key `Batch-Size` in `training`\n"
            "  hint: did you mean `batch_size`?",
        ),
        (
            "training: {rank: 1}",
            "r.yaml:5:12: error: unknown key `rank` in `training`\n"
            "  hint: that key belongs at `method.rank`",
        ),
        (
            "epochs: 3",
            "r.yaml:5:1: error: unknown key `epochs` in a recipe\n"
            "  hint: that key belongs at `training.epochs`",
        ),
        (
            "learning_rate: 1e-4",  # also of domain.corpus, which is further from the root
            "r.yaml:5:1: error: unknown key `learning_rate` in a recipe\n"
            "  hint: that key belongs at `training.learning_rate`",
        ),
        (
            "evaluation: {learning-rate: 1}",
            "r.yaml:5:14: error: unknown key `learning-rate` in `evaluation`\n"
            "  hint: that key belongs at `training.learning_rate`",
        ),
        (
            "dropout: 0.1",
            "r.yaml:5:1: error: unknown key `dropout` in a recipe\n"
            "  hint: that key belongs at `architecture.dropout` or `method.dropout`",
        ),
        (
            "batch_sise: 8",
            "r.yaml:5:1: error: unknown key `batch_sise` in a recipe\n"
            "  hint: that key belongs at `training.batch_size` or `evaluation.batch_size`",
        ),
        (
            "method: {metrics: [f1]}",
            "r.yaml:5:10: error: unknown key `metrics` in `method`\n"
            "  hint: that key belongs at `evaluation.metrics`",
        ),
        (
            "hardware: {zzz: 3}",
            "r.yaml:5:12: error: unknown key `zzz` in `hardware`\n"
            "  hint: known keys: accelerator, count, nodes, parallelism, driver, threads",
        ),
        (
            '"a\\n\\e[2Jb": 1',
            "r.yaml:5:1: error: unknown key `a\\n\\x1b[2Jb` in a recipe\n"
            "  hint: known keys: name, task, domain, architecture, recipe, method, training,\n"
            "        evaluation, hardware, image, deploy, extends, matrix, reproducibility",
        ),
        (
            "image: {exclude_newer: 01.11.2026}",
            "r.yaml:5:24: error: `image.exclude_newer` is '01.11.2026', which is not of the right"
            " form\n"
            "  hint: Take no wheel uploaded after this date or time, such as 2026-11-01. Every"
            " index used must tell upload times.",
        ),
        (
            "image: {exclude_newer: 2026-02-30}",
            "r.yaml:5:24: error: 2026-02-30 is not a date that exists\n"
            "  hint: write a date such as 2026-11-01, or a time such as 2026-11-01T12:00:00Z",
        ),
    ],
)
def test_one_mistake(text: str, expected: str) -> None:
    assert one(text + "\n") == expected


@pytest.mark.parametrize(
    "name",
    ["Legal", "a_b", "-a", "a-", "", "a/b", "../a", "a b", "é", "a\n", "x" * 64, "a\0", "１"],
)
def test_a_name_that_is_no_name(name: str) -> None:
    report = said(HEAD.replace("legal", quoted(name)))
    assert report.startswith("r.yaml:1:7: error: `name` is ")
    assert ", which is not of the right form\n" in report
    assert "\n\n1 error" in report


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


@pytest.mark.parametrize(
    "model",
    ["tiny-t5", "path:", "hub:t5", "hub:a/b@", "hub:a/b/c", "wheel:a/b", "wheel:a==1", "path:a\n"],
)
def test_a_model_that_is_nowhere(model: str) -> None:
    report = said(HEAD.replace('"path:m"', quoted(model)))
    assert report.startswith("r.yaml:4:23: error: `architecture.model` is ")
    assert (
        "  hint: Where the model comes from: `path:DIR` in the project, `hub:ORG/NAME@COMMIT`, or"
        " `wheel:PACKAGE==VERSION/INNER/PATH` (a folder, or a GGUF file).\n" in report
    )


@pytest.mark.parametrize(
    "model", ["path:a", "path:a b", "hub:a/b", "hub:a/b@c0ffee", "wheel:a==1/b", "wheel:a==1.0/b/c"]
)
def test_a_model_that_may_be_somewhere(model: str) -> None:
    assert checked(HEAD.replace('"path:m"', f'"{model}"')).architecture.model == model


def test_missing_keys_are_named_at_their_section() -> None:
    assert said("recipe: v1\n") == (
        "r.yaml:1:1: error: `name`, `task`, `domain`, `architecture` are missing\n"
        "    1 | recipe: v1\n"
        "      | ^\n"
        "  hint: name: Name of the recipe: its build folder, its DVC stages. Lower-case letters,"
        " digits and hyphens, at most 63. task: What the model must learn to do. domain: What the"
        " data is about, and where it lies. architecture: The model to tune.\n"
        "\n"
        "1 error"
    )
    assert said(HEAD.replace("{train: train.jsonl, test: test.jsonl}", "{}")) == (
        "r.yaml:3:10: error: `domain.data.train` is missing\n"
        "    3 | domain: {data: {}}\n"
        "      |          ^^^^\n"
        "  hint: train: Rows to train on: a path in the project, or several.\n"
        "\n"
        "1 error"
    )


def test_the_schema_and_the_rules_speak_at_once() -> None:
    report = said(
        "name: Legal\n"
        "task: {type: sumarization}\n"
        "domain: {data: {train: ../x}}\n"
        "architecture: {model: path:m}\n"
        "method: {rank: '8', target_modules: [q, 1]}\n"
        "training: {epochs: 1, steps: 2, batch_size: 10, micro_batch_size: 4, lr: 1}\n"
    )
    assert [line for line in report.splitlines() if "error: " in line] == [
        "r.yaml:1:7: error: `name` is 'Legal', which is not of the right form",
        "r.yaml:2:14: error: `task.type` is 'sumarization'; it is one of: causal-lm, instruction,"
        " masked-lm, question-answering, sequence-classification, span-corruption, summarization,"
        " text-to-text, token-classification, translation",
        "r.yaml:3:24: error: '../x' leaves the project",
        "r.yaml:5:16: error: `method.rank` is '8'; it is a whole number",
        "r.yaml:5:41: error: `method.target_modules[1]` is 1; it is text",
        "r.yaml:6:23: error: `training.steps` and `training.epochs` are both given",
        "r.yaml:6:67: error: micro_batch_size 4 does not divide batch_size 10",
        "r.yaml:6:70: error: unknown key `lr` in `training`",
    ]
    assert report.endswith("\n\n8 errors")


def test_rules_run_without_what_is_missing() -> None:
    report = said("training: {epochs: 1, steps: 2}\n")
    assert "`training.steps` and `training.epochs` are both given" in report
    assert "are missing" in report


def test_what_the_schema_refused_breaks_no_rule_as_well() -> None:
    assert said(HEAD.replace("train.jsonl, test", "5, test")).endswith("\n\n1 error")
    assert one("evaluation: {metrics: [f2]}\n").startswith("r.yaml:5:24: error: `evaluation")


def test_thousands_of_mistakes_are_not_all_told() -> None:
    many = "".join(f"key{number}: 1\n" for number in range(3000))
    assert said(HEAD + many).endswith(f"\n\n{MAX_PROBLEMS} errors")
    gates = ", ".join(f"m{number}: 1" for number in range(3000))
    report = said(HEAD + f"evaluation: {{at_least: {{{gates}}}}}\n")
    assert report.endswith(f"\n\n{MAX_PROBLEMS} errors")
    assert max(map(len, report.splitlines())) < 250


# Every field of the language


def _resolved(entry: dict[str, Any]) -> dict[str, Any]:
    for part in (entry, *entry.get("allOf", ())):
        if "$ref" in part:
            target = json_schema()["$defs"][part["$ref"].rsplit("/", 1)[1]]
            return {**entry, **target}
    return entry


def every_field() -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    found: list[tuple[tuple[str, ...], dict[str, Any]]] = []

    def walk(entry: dict[str, Any], path: tuple[str, ...]) -> None:
        for name, raw in entry.get("properties", {}).items():
            child = _resolved(raw)
            found.append(((*path, name), child))
            walk(child, (*path, name))
            for choice in child.get("anyOf", ()):
                # A mapping whose values are sections of one kind: the first stands for all.
                for key in [*choice.get("properties", ())][:1]:
                    walk(_resolved(choice["properties"][key]), (*path, name, key))

    walk(json_schema(), ())
    return found


FIELDS = every_field()
LEAVES = [(path, entry) for path, entry in FIELDS if "properties" not in entry]
WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "boolean": "true or false",
    "object": "a section (a mapping)",
}


def wanted(entry: dict[str, Any]) -> str:
    """What a message says that a key's value is."""
    words = [word for choice in entry.get("anyOf", [entry]) for word in choice.get("enum", ())]
    kinds = [
        WORDS[choice["type"]] for choice in entry.get("anyOf", [entry]) if "enum" not in choice
    ]
    several = "one of: " + ", ".join(words)
    return several if len(words) > 1 and not kinds else " or ".join([*words, *kinds])


def test_the_walk_finds_the_whole_language() -> None:
    sections = [kind for kind in vars(schema).values() if dataclasses.is_dataclass(kind)]
    assert len(FIELDS) == sum(len(dataclasses.fields(kind)) for kind in sections) >= 130
    names = {".".join(path) for path, _ in FIELDS}
    assert names >= {"name", "task.fields.source", "domain.data.train", "image.exclude_newer"}


def nested(path: tuple[str, ...], value: str, before: str = "", after: str = "") -> str:
    """YAML lines that put `value` at `path`, one key a line, in front of a sound recipe."""
    lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(path)]
    lead = "  " * (len(path) - 1)
    lines[-1] += f" {value}"
    lines = [*lines[:-1], *([lead + before] if before else []), lines[-1]]
    return "\n".join([*lines, *([lead + after] if after else [])]) + "\n"


@pytest.mark.parametrize(("path", "entry"), FIELDS, ids=[".".join(path) for path, _ in FIELDS])
def test_a_wrong_type_and_a_misspelling_of_every_field(
    path: tuple[str, ...], entry: dict[str, Any]
) -> None:
    wrong = "7" if "a list" in wanted(entry) else "[7]"
    misspelt = path[-1] + "_x"
    text = nested(path, wrong, after=f"{misspelt}: 1")
    with pytest.raises(RecipeError) as caught:
        checked(text)
    found = {(d.line, d.column): d for d in caught.value.diagnostics}
    line, column = len(path), 2 * (len(path) - 1) + len(path[-1]) + 3
    at_value = found[line, column]
    dotted = ".".join(path)
    shown = "a list" if wrong == "[7]" else "7"
    assert at_value.message == f"`{dotted}` is {shown}; it is {wanted(entry)}"
    assert at_value.excerpt == text.splitlines()[line - 1]
    quotes = wrong == "7" and "text" in wanted(entry)
    assert at_value.hint == ("put it in quotes to make it text" if quotes else entry["description"])

    at_key = found[line + 1, column - len(path[-1]) - 2]
    section = f"`{'.'.join(path[:-1])}`" if len(path) > 1 else "a recipe"
    assert at_key.message == f"unknown key `{misspelt}` in {section}"
    assert at_key.hint == f"did you mean `{path[-1]}`?"
    assert at_key.width == len(misspelt)


@pytest.mark.parametrize(("path", "entry"), FIELDS, ids=[".".join(path) for path, _ in FIELDS])
def test_every_field_may_not_be_null(path: tuple[str, ...], entry: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        checked(nested(path, "null"))
    line, column = len(path), 2 * (len(path) - 1) + len(path[-1]) + 3
    found = next(d for d in caught.value.diagnostics if (d.line, d.column) == (line, column))
    choices = entry.get("anyOf", [entry])
    word = " or ".join("text" if "enum" in one else WORDS[one["type"]] for one in choices)
    assert found.message == f"`{'.'.join(path)}` is empty; it is {word}"


@pytest.mark.parametrize(
    ("path", "entry", "key"),
    [
        (path, entry, key)
        for path, entry in LEAVES
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        if key in entry
    ],
    ids=str,
)
def test_both_ends_of_every_range(path: tuple[str, ...], entry: dict[str, Any], key: str) -> None:
    bound = entry[key]
    beyond = {"minimum": bound - 1, "maximum": bound + 1}.get(key, bound)
    with pytest.raises(RecipeError) as caught:
        checked(nested(path, str(beyond)))
    words = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above"}
    message = f"`{'.'.join(path)}` is {beyond}; it is {words.get(key, 'below')} {bound}"
    assert message in [d.message for d in caught.value.diagnostics]
    if key in {"minimum", "maximum"}:
        with pytest.raises(RecipeError) as caught:
            checked(nested(path, str(bound)))  # the rest of the recipe is missing
        assert not any(f"`{'.'.join(path)}` is" in d.message for d in caught.value.diagnostics)


# What must always hold

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "lora", "path:m", "summarization", "v1", "x", "../y", "2026-01-01"])
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
)
_names = st.sampled_from(sorted({name for path, _ in FIELDS for name in path})) | st.text(
    "abc_", max_size=5
)
_recipes = st.dictionaries(
    _names,
    st.recursive(
        _scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=5),
        max_leaves=12,
    ),
    max_size=6,
)


def as_yaml(plain: object) -> bytes:
    return json.dumps(plain, ensure_ascii=False).encode()


@given(_recipes)
def test_any_mapping_is_a_recipe_or_refused_with_places(plain: dict[str, Any]) -> None:
    try:
        check(read(as_yaml(plain), "r.yaml"))
    except RecipeError as error:
        for found in error.diagnostics:
            assert found.message
            assert found.line >= 1 or not plain
        error.render().encode()
