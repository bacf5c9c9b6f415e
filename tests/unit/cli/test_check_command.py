"""`recipec check`: what a user sees, in text and in JSON."""

from __future__ import annotations

import json
import os

import pytest

from tests.unit.conftest import RECIPE, Workplace


def test_a_good_recipe(workplace: Workplace) -> None:
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert (done.code, done.out, done.err) == (0, "", "recipes/legal-t5.yaml: good\n")


def test_a_good_recipe_as_json(workplace: Workplace) -> None:
    done = workplace.run("check", "--json", "recipes/legal-t5.yaml")
    assert (done.code, done.err) == (0, "")
    (row,) = json.loads(done.out)["recipes"]
    assert row["recipe"] == str(workplace.recipe)
    assert row["name"] == "legal-t5"
    assert row["digest"].startswith("sha256:")


def test_a_good_recipe_pays_for_no_reasons_and_no_plan(workplace: Workplace) -> None:
    def imported() -> set[str]:
        done = workplace.run(
            "check", "recipes/legal-t5.yaml", environment={"PYTHONPROFILEIMPORTTIME": "1"}
        )
        lines = [line for line in done.err.splitlines() if line.startswith("import time:")]
        return {line.rpartition("|")[2].strip() for line in lines}

    first = imported()
    assert {"msgspec", "ruamel.yaml", "recipec.recipe.rules"} <= first
    heavy = {"jsonschema", "jinja2", "rich", "uv", "recipec.plan.plan", "recipec.recipe.explain"}
    assert not heavy & first
    assert not {"msgspec", "ruamel.yaml"} & imported()
    workplace.recipe.write_text(RECIPE + "trainng: {}\n")
    assert {"jsonschema", "recipec.recipe.explain"} <= imported()


def test_the_digest_is_over_the_values(workplace: Workplace) -> None:
    def digest() -> object:
        done = workplace.run("check", "--json", "recipes/legal-t5.yaml")
        return json.loads(done.out)["recipes"][0]["digest"]

    before = digest()
    lines = RECIPE.splitlines(keepends=True)
    moved = "# a comment\n" + "".join([*lines[1:], lines[0]]).replace("clause", '"clause"')
    workplace.recipe.write_text(moved)
    assert digest() == before
    # A default that is written out is the same value
    workplace.recipe.write_text(RECIPE + "training: {schedule: cosine}\nevaluation: {}\n")
    assert digest() == before
    workplace.recipe.write_text(RECIPE + "training: {seed: 1}\n")
    assert digest() != before


def test_a_wrong_recipe(workplace: Workplace) -> None:
    workplace.recipe.write_text(RECIPE + "training: {epoch: 3, seed: '1'}\n")
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "recipes/legal-t5.yaml:10:12: error: unknown key `epoch` in `training`\n"
        "   10 | training: {epoch: 3, seed: '1'}\n"
        "      |            ^^^^^\n"
        "  hint: did you mean `epochs`?\n"
        "\n"
        "recipes/legal-t5.yaml:10:28: error: `training.seed` is '1'; it is a whole number\n"
        "   10 | training: {epoch: 3, seed: '1'}\n"
        "      |                            ^^^\n"
        "  hint: remove the quotes: 1\n"
        "\n"
        "2 errors\n"
    )


def test_a_wrong_recipe_as_json(workplace: Workplace) -> None:
    workplace.recipe.write_text(RECIPE + "training: {epoch: 3}\n")
    done = workplace.run("check", "--json", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert json.loads(done.out) == {
        "error": "the recipe is wrong",
        "diagnostics": [
            {
                "file": "recipes/legal-t5.yaml",
                "line": 10,
                "column": 12,
                "message": "unknown key `epoch` in `training`",
                "hint": "did you mean `epochs`?",
            }
        ],
        "exit_code": 1,
    }


def test_several_recipes_tell_all_their_mistakes(workplace: Workplace) -> None:
    for name, text in (("a", RECIPE + "x: 1\n"), ("b", "")):
        workplace.recipe.with_name(f"{name}.yaml").write_text(text)
    done = workplace.run(
        "check", "recipes/b.yaml", "recipes/legal-t5.yaml", "recipes/a.yaml", "recipes/c.yaml"
    )
    assert done.code == 1
    assert [line for line in done.err.splitlines() if "error: " in line] == [
        "recipes/a.yaml:10:1: error: unknown key `x` in a recipe",
        "recipes/b.yaml: error: the file is empty",
        "recipes/c.yaml: error: there is no such recipe",
    ]
    assert done.err.endswith("\n\n3 errors\n")


def test_files_that_are_not_there(workplace: Workplace) -> None:
    (workplace.root / "data/train.jsonl").rename(workplace.root / "data/trian.jsonl")
    (workplace.root / "data/test.jsonl").unlink()
    (workplace.root / "data/test.jsonl").mkdir()
    (workplace.root / "models/tiny/config.json").unlink()
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert done.err == (
        "recipes/legal-t5.yaml:7:17: error: the train file is missing: data/train.jsonl\n"
        "    7 |   data: {train: data/train.jsonl, test: data/test.jsonl}\n"
        "      |                 ^^^^^^^^^^^^^^^^\n"
        "  hint: did you mean data/trian.jsonl?\n"
        "\n"
        "recipes/legal-t5.yaml:7:41: error: the test file is a folder: data/test.jsonl\n"
        "    7 |   data: {train: data/train.jsonl, test: data/test.jsonl}\n"
        "      |                                         ^^^^^^^^^^^^^^^\n"
        "  hint: did you mean data/trian.jsonl?\n"
        "\n"
        "recipes/legal-t5.yaml:9:10: error: models/tiny is not a model: it has no config.json\n"
        "    9 |   model: path:models/tiny\n"
        "      |          ^^^^^^^^^^^^^^^^\n"
        "  hint: name a folder that `save_pretrained` wrote\n"
        "\n"
        "3 errors\n"
    )


@pytest.mark.parametrize("name", ["x" * 300 + ".yaml", "a/b/c.yaml", "recipes/legal-t5.yaml/x"])
def test_a_recipe_that_cannot_be(workplace: Workplace, name: str) -> None:
    done = workplace.run("check", name)
    assert done.code == 1
    assert done.err.startswith(f"{name}: error: there is no such recipe\n")


def test_a_recipe_with_a_name_near_to_it(workplace: Workplace) -> None:
    done = workplace.run("check", "recipes/legal-t4.yaml")
    assert done.err == (
        "recipes/legal-t4.yaml: error: there is no such recipe\n"
        "  hint: did you mean legal-t5.yaml?\n\n1 error\n"
    )
    done = workplace.run("check", "recipes")
    assert done.err == (
        "recipes: error: is a folder, not a recipe\n  hint: name the .yaml file in it\n\n1 error\n"
    )


def test_data_with_a_name_that_is_too_long(workplace: Workplace) -> None:
    workplace.recipe.write_text(RECIPE.replace("data/train.jsonl", "x" * 300))
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert f"the train file is missing: {'x' * 300}\n" in done.err


def test_a_data_row_that_is_wrong_is_shown_in_its_file(workplace: Workplace) -> None:
    with (workplace.root / "data/train.jsonl").open("a") as file:
        file.write('{"clause": "no summary"}\nnot json\n')
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert "data/train.jsonl:2:" in done.err
    assert "data/train.jsonl:3:" in done.err
    assert done.err.endswith("\n\n2 errors\n")


def test_a_cell_that_the_model_makes_impossible(workplace: Workplace) -> None:
    config = workplace.root / "models/tiny/config.json"
    config.write_text('{"model_type": "bert", "architectures": ["BertForMaskedLM"]}')
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 1
    assert done.err == (
        "recipes/legal-t5.yaml:9:10: error: an encoder-only model has no decoder, so it cannot"
        " write text (path:models/tiny is encoder-only)\n"
        "    9 |   model: path:models/tiny\n"
        "      |          ^^^^^^^^^^^^^^^^\n"
        "  hint: use an encoder-decoder model (T5, BART) or a decoder-only one (GPT-2, Llama)\n"
        "\n"
        "1 error\n"
    )


def test_what_was_good_is_looked_at_again_once_anything_moved(workplace: Workplace) -> None:
    words = ("check", "recipes/legal-t5.yaml")
    assert workplace.run(*words).code == 0
    assert workplace.run(*words).code == 0
    data = workplace.root / "data/train.jsonl"
    good = data.read_text()
    data.write_text("not json\n")
    assert workplace.run(*words).code == 1
    assert workplace.run(*words).code == 1
    data.write_text(good)
    assert workplace.run(*words).code == 0
    workplace.recipe.write_text(RECIPE + "x: 1\n")
    assert workplace.run(*words).code == 1
    workplace.recipe.write_text(RECIPE)
    assert workplace.run(*words).code == 0
    (workplace.root / "models/tiny/config.json").unlink()
    assert workplace.run(*words).code == 1


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b"null", b'"x"', b"\xff"])
def test_torn_records_are_not_believed(workplace: Workplace, torn: bytes) -> None:
    assert workplace.run("check", "recipes/legal-t5.yaml").code == 0
    for record in (workplace.cache / "records").rglob("*.record"):
        record.write_bytes(torn)
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert (done.code, done.err) == (0, "recipes/legal-t5.yaml: good\n")


def test_a_cache_that_cannot_be_written(workplace: Workplace) -> None:
    workplace.cache.write_text("in the way")
    done = workplace.run("check", "recipes/legal-t5.yaml")
    assert done.code == 3
    assert done.err.startswith(f"error: cannot write to {workplace.cache}/")
    assert "RECIPEC_CACHE" in done.err


def test_a_project_without_marks_begins_where_the_user_stands(workplace: Workplace) -> None:
    (workplace.root / ".git").rmdir()
    assert workplace.run("check", "recipes/legal-t5.yaml").code == 0
    done = workplace.run("check", "legal-t5.yaml", cwd=workplace.root / "recipes")
    assert done.code == 1
    assert f"paths are relative to {workplace.root}/recipes" in done.err


def test_the_command_can_be_run_from_anywhere(workplace: Workplace) -> None:
    elsewhere = workplace.root / "data"
    assert workplace.run("check", "../recipes/legal-t5.yaml", cwd=elsewhere).code == 0
    assert workplace.run("check", os.fspath(workplace.recipe), cwd=workplace.root.parent).code == 0
