"""Recipes that extend others or hold a matrix, as users meet them on the command line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from recipec.cli.check import known_good
from recipec.cli.compile import lock_to_start_from
from recipec.cli.frontend import load
from recipec.cli.members import members, recall
from recipec.cli.project import find_project
from recipec.errors import RecipeError, UsageError
from recipec.pins.lockfile import ExpectedImage, Lock, Model, Wheel
from tests.unit.conftest import RECIPE, Workplace

TOP = "extends: legal-t5.yaml\nname: top\ntraining: {seed: 3}\n"
SWEEP = (
    "extends: legal-t5.yaml\nname: sweep\n"
    "matrix: {training.learning_rate: [1e-3, 3e-4], method.rank: [4, 8]}\n"
)
NAMES = ["sweep-lr1e-3-rank4", "sweep-lr1e-3-rank8", "sweep-lr3e-4-rank4", "sweep-lr3e-4-rank8"]


def write(workplace: Workplace, name: str, text: str) -> Path:
    path = workplace.root / "recipes" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def errors(workplace: Workplace, *names: str) -> list[str]:
    done = workplace.run("check", *(f"recipes/{name}" for name in names))
    assert done.code == 1, done.err
    return [line for line in done.err.splitlines() if "error: " in line]


def digest(workplace: Workplace, name: str) -> Any:
    done = workplace.run("check", "--json", f"recipes/{name}")
    assert done.code == 0, done.err
    return json.loads(done.out)["recipes"][0]["digest"]


# extends


def test_two_recipes_of_one_base(workplace: Workplace) -> None:
    write(workplace, "a.yaml", TOP.replace("top", "a"))
    write(workplace, "b.yaml", TOP.replace("top", "b").replace("seed: 3", "seed: 4"))
    done = workplace.run("check", "recipes/a.yaml", "recipes/b.yaml", "recipes/legal-t5.yaml")
    assert (done.code, done.out) == (0, "")
    assert done.err == ("recipes/a.yaml: good\nrecipes/b.yaml: good\nrecipes/legal-t5.yaml: good\n")


def test_the_digest_is_over_the_composed_values(workplace: Workplace) -> None:
    write(workplace, "top.yaml", TOP)
    write(workplace, "plain.yaml", RECIPE.replace("legal-t5", "top") + "training: {seed: 3}\n")
    before = digest(workplace, "top.yaml")
    assert before == digest(workplace, "plain.yaml")
    workplace.recipe.write_text("# a comment\n" + RECIPE)
    assert digest(workplace, "top.yaml") == before
    workplace.recipe.write_text(RECIPE + "method: {rank: 3}\n")
    assert digest(workplace, "top.yaml") != before


def test_an_edited_base_is_noticed_by_every_cache(workplace: Workplace) -> None:
    path = write(workplace, "top.yaml", TOP)
    project, store = find_project(path), workplace.store
    assert workplace.run("check", "recipes/top.yaml").code == 0
    assert known_good(project, store) is not None
    assert load(project, store).recipe.training.epochs != 9
    about = workplace.recipe.stat()
    workplace.recipe.write_text(RECIPE + "training: {epochs: 9}\n")
    os.utime(workplace.recipe, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert recall(project, store) is None
    assert known_good(project, store) is None
    assert load(project, store).recipe.training.epochs == 9
    workplace.recipe.write_text(RECIPE + "training: {epochs: nine}\n")
    assert errors(workplace, "top.yaml") == [
        "recipes/legal-t5.yaml:10:20: error: `training.epochs` is 'nine'; it is a whole number"
    ]
    workplace.recipe.unlink()
    (line,) = errors(workplace, "top.yaml")
    assert line == "recipes/top.yaml:1:10: error: the base is missing: legal-t5.yaml"


def test_a_base_of_a_base_is_noticed_too(workplace: Workplace) -> None:
    write(workplace, "mid.yaml", "extends: legal-t5.yaml\n")
    path = write(workplace, "top.yaml", TOP.replace("legal-t5", "mid"))
    project, store = find_project(path), workplace.store
    load(project, store)
    assert recall(project, store) is not None
    workplace.recipe.write_text(RECIPE + "training: {epochs: 9}\n")
    assert load(project, store).recipe.training.epochs == 9


def test_the_same_text_in_two_places_has_two_bases(workplace: Workplace) -> None:
    one = write(workplace, "one/top.yaml", TOP)
    other = write(workplace, "other/top.yaml", TOP)
    write(workplace, "one/legal-t5.yaml", RECIPE + "evaluation: {num_beams: 2}\n")
    write(workplace, "other/legal-t5.yaml", RECIPE + "evaluation: {num_beams: 3}\n")
    for _ in range(2):
        for path, beams in ((one, 2), (other, 3)):
            recipe = load(find_project(path), workplace.store).recipe
            assert recipe.evaluation.num_beams == beams


def test_a_base_behind_a_link_is_read_where_it_lies(workplace: Workplace) -> None:
    write(workplace, "shared/root.yaml", RECIPE.replace("legal-t5", "root"))
    write(workplace, "shared/mid.yaml", "extends: root.yaml\ntraining: {epochs: 2}\n")
    write(workplace, "shared/other.yaml", "extends: root.yaml\ntraining: {epochs: 5}\n")
    link = workplace.root / "recipes/link.yaml"
    link.symlink_to("shared/mid.yaml")
    path = write(workplace, "top.yaml", TOP.replace("legal-t5", "link"))
    project = find_project(path)
    assert load(project, workplace.store).recipe.training.epochs == 2
    link.unlink()
    link.symlink_to("shared/other.yaml")
    assert load(project, workplace.store).recipe.training.epochs == 5


def test_a_missing_file_of_the_base_is_shown_in_the_base(workplace: Workplace) -> None:
    write(workplace, "top.yaml", TOP)
    (workplace.root / "data/test.jsonl").unlink()
    assert errors(workplace, "top.yaml") == [
        "recipes/legal-t5.yaml:7:41: error: the test file is missing: data/test.jsonl"
    ]


def test_an_incomplete_base_is_good_only_below_a_recipe(workplace: Workplace) -> None:
    write(workplace, "base.yaml", "training: {epochs: 2}\n")
    workplace.recipe.write_text("extends: base.yaml\n" + RECIPE)
    assert workplace.run("check", "recipes/legal-t5.yaml").code == 0
    assert errors(workplace, "base.yaml") == [
        "recipes/base.yaml:1:1: error: `name`, `task`, `domain`, `architecture` are missing"
    ]


def test_a_base_that_is_no_yaml_shows_its_own_line(workplace: Workplace) -> None:
    write(workplace, "top.yaml", TOP)
    workplace.recipe.write_text("name: x\ntask: [\n")
    (line,) = errors(workplace, "top.yaml")
    assert line.startswith("recipes/legal-t5.yaml:3:1: error: not valid YAML: ")
    workplace.recipe.write_bytes(b"name: \xff\n")
    assert errors(workplace, "top.yaml") == [
        "recipes/legal-t5.yaml:1:7: error: byte 0xff is not UTF-8"
    ]
    workplace.recipe.write_text("")
    assert errors(workplace, "top.yaml") == ["recipes/legal-t5.yaml: error: the file is empty"]


def test_a_circle_names_every_recipe_of_it(workplace: Workplace) -> None:
    write(workplace, "a.yaml", "extends: b.yaml\nname: a\n")
    write(workplace, "b.yaml", "name: b\nextends: sub/c.yaml\n")
    write(workplace, "sub/c.yaml", "\nextends: ../b.yaml\n")
    way = "in a circle: recipes/b.yaml -> recipes/sub/c.yaml -> recipes/b.yaml"
    assert errors(workplace, "a.yaml") == [
        f"recipes/b.yaml:2:10: error: these recipes extend one another {way}",
        f"recipes/sub/c.yaml:2:10: error: these recipes extend one another {way}",
    ]
    write(workplace, "self.yaml", "name: s\nextends: ./sub/../self.yaml\n")
    assert errors(workplace, "self.yaml") == [
        "recipes/self.yaml:2:10: error: a recipe cannot extend itself"
    ]


def test_a_chain_has_an_end(workplace: Workplace) -> None:
    for n in range(1, 16):
        write(workplace, f"r{n}.yaml", f"extends: r{n + 1}.yaml\nname: r{n}\n")
    write(workplace, "r16.yaml", RECIPE)
    assert workplace.run("check", "recipes/r1.yaml").code == 0
    write(workplace, "r0.yaml", "extends: r1.yaml\nname: r0\n")
    assert errors(workplace, "r0.yaml") == [
        "recipes/r15.yaml:1:10: error: more than 16 recipes extend one another"
    ]


@pytest.mark.parametrize(
    ("named", "message", "hint"),
    [
        ("legal-t4.yaml", "the base is missing: legal-t4.yaml", "did you mean legal-t5.yaml?"),
        ("../legal-t5.yaml", "the base is missing: ../legal-t5.yaml", "a base is named relative"),
        ("../recipes/legl-t5.yaml", "the base is missing", "did you mean ../recipes/legal-t5.yaml"),
        ("../data", "the base is a folder: ../data", "a base is named relative"),
        ("nowhere/x.yaml", "the base is missing: nowhere/x.yaml", "a base is named relative"),
        ("../../outside.yaml", "the base leaves the project: ../../outside.yaml", "name a recipe"),
        ("link.yaml", "the base leaves the project: link.yaml", "name a recipe of this project"),
        ("'~/x.yaml'", "the base is missing: ~/x.yaml", "a base is named relative"),
        ('"a\\0b"', "the base is missing: a\\x00b", "a base is named relative"),
        ("x" * 300, "the base is missing: xxx", "a base is named relative"),
        ("https://example.org/r.yaml", "the base is missing: https://", "a base is named relative"),
        ("数据.yaml", "the base is missing: 数据.yaml", "a base is named relative"),
        ("legal-t5.yaml:top", "the base is missing: legal-t5.yaml:top", "did you mean legal-t5"),
    ],
)
def test_a_base_that_cannot_be(workplace: Workplace, named: str, message: str, hint: str) -> None:
    outside = workplace.root.parent / "outside.yaml"
    outside.write_text(RECIPE)
    (workplace.root / "recipes/link.yaml").symlink_to(outside)
    write(workplace, "top.yaml", f"extends: {named}\nname: top\n")
    done = workplace.run("check", "recipes/top.yaml")
    assert done.code == 1
    assert f"recipes/top.yaml:1:10: error: {message}" in done.err
    assert f"  hint: {hint}" in done.err


def test_an_absolute_base_is_refused_though_it_is_in_the_project(workplace: Workplace) -> None:
    write(workplace, "top.yaml", f"extends: {workplace.recipe}\nname: top\n")
    (line,) = errors(workplace, "top.yaml")
    assert line.startswith("recipes/top.yaml:1:10: error: the base leaves the project: /")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_base_that_is_closed(workplace: Workplace) -> None:
    write(workplace, "top.yaml", TOP)
    workplace.recipe.chmod(0)
    (line,) = errors(workplace, "top.yaml")
    assert line.endswith("the base cannot be read: legal-t5.yaml: Permission denied")


# matrix


def test_a_matrix_is_checked_as_a_whole_and_by_member(workplace: Workplace) -> None:
    write(workplace, "sweep.yaml", SWEEP)
    done = workplace.run("check", "recipes/sweep.yaml", "recipes/legal-t5.yaml")
    assert done.err == "recipes/sweep.yaml: good (4 recipes)\nrecipes/legal-t5.yaml: good\n"
    for _ in range(2):
        done = workplace.run("check", "--json", "recipes/sweep.yaml")
        (row,) = json.loads(done.out)["recipes"]
        assert row["recipe"] == str(workplace.root / "recipes/sweep.yaml")
        assert [member["name"] for member in row["members"]] == NAMES
        assert len({member["digest"] for member in row["members"]}) == 4
    done = workplace.run("check", "--json", f"recipes/sweep.yaml:{NAMES[1]}")
    (one,) = json.loads(done.out)["recipes"]
    assert one == {"recipe": row["recipe"], **row["members"][1]}


def test_a_mistake_that_all_members_share_is_told_once(workplace: Workplace) -> None:
    write(workplace, "sweep.yaml", SWEEP + "training: {epochs: none, learning_rat: 1}\n")
    assert errors(workplace, "sweep.yaml") == [
        "recipes/sweep.yaml:4:20: error: `training.epochs` is 'none'; it is a whole number",
        "recipes/sweep.yaml:4:26: error: unknown key `learning_rat` in `training`",
    ]


def test_files_that_one_member_names_are_missed_at_its_entry(workplace: Workplace) -> None:
    text = "extends: legal-t5.yaml\nname: s\nmatrix:\n  domain.data.train:\n"
    write(workplace, "s.yaml", text + "  - data/train.jsonl\n  - data/trane.jsonl\n")
    done = workplace.run("check", "recipes/s.yaml")
    assert done.err == (
        "recipes/s.yaml:6:5: error: the train file is missing: data/trane.jsonl\n"
        "    6 |   - data/trane.jsonl\n"
        "      |     ^^^^^^^^^^^^^^^^\n"
        "  hint: did you mean data/train.jsonl?\n"
        "\n"
        "1 error\n"
    )
    shutil.copytree(workplace.root / "models/tiny", workplace.root / "models/other")
    (workplace.root / "models/other/config.json").write_text('{"model_type": "gpt2"}')
    models = "matrix: {architecture.model: ['path:models/tiny', 'path:models/other']}\n"
    write(workplace, "s.yaml", text.partition("matrix")[0] + models)
    (line,) = errors(workplace, "s.yaml")
    assert line.startswith("recipes/s.yaml:3:51: error: ")


def test_members_are_projects_of_their_own(workplace: Workplace) -> None:
    project = find_project(write(workplace, "sweep.yaml", SWEEP))
    several = members(project, workplace.store)
    assert [one.member for one in several] == NAMES
    one = several[0]
    assert one.lock == workplace.root / f"recipes/{NAMES[0]}.lock.json"
    assert one.reference == f"recipes/sweep.yaml:{NAMES[0]}"
    assert find_project(Path(f"{project.recipe}:{NAMES[0]}")) == one
    assert members(one, workplace.store) == (one,)
    assert load(one, workplace.store).recipe.name == NAMES[0]
    assert load(one, workplace.store).recipe.method.rank == 4
    plain = find_project(workplace.recipe)
    assert members(plain, workplace.store) == (plain,)
    assert plain.reference == "recipes/legal-t5.yaml"


def test_a_matrix_of_one_value_is_a_matrix(workplace: Workplace) -> None:
    path = write(workplace, "one.yaml", TOP + "matrix: {method.rank: [4]}\n")
    (one,) = members(find_project(path), workplace.store)
    assert one.member == "top-rank4"
    with pytest.raises(UsageError):
        load(find_project(path), workplace.store)


def test_a_file_with_a_colon_in_its_name_is_that_file(workplace: Workplace) -> None:
    odd = write(workplace, "sweep.yaml:x", RECIPE)
    write(workplace, "sweep.yaml", SWEEP)
    assert find_project(odd).recipe == odd
    assert find_project(odd).member == ""


def test_what_takes_one_recipe_asks_for_a_member(workplace: Workplace) -> None:
    write(workplace, "sweep.yaml", SWEEP)
    for command in (["run"], ["verify"], ["export-archive"], ["push", "127.0.0.1:1/x"]):
        done = workplace.run(command[0], "recipes/sweep.yaml", *command[1:])
        if "engine" in done.err or "podman" in done.err:
            continue  # this machine has no engine, which `run` finds out first
        assert done.code == 2, done.err
        assert done.err == (
            "error: recipes/sweep.yaml has a matrix of 4 recipes; this takes one\n"
            f"  hint: name it as recipes/sweep.yaml:{NAMES[0]}; the members: {', '.join(NAMES)}\n"
        )


def test_a_member_that_is_none_gets_the_nearest(workplace: Workplace) -> None:
    write(workplace, "sweep.yaml", SWEEP)
    done = workplace.run("check", "recipes/sweep.yaml:sweep-lr3e-4-rnk8")
    assert done.code == 2
    assert done.err.startswith(
        "error: recipes/sweep.yaml has no member 'sweep-lr3e-4-rnk8'\n"
        "  hint: did you mean recipes/sweep.yaml:sweep-lr3e-4-rank8? its members: "
    )
    done = workplace.run("build", "recipes/legal-t5.yaml:x")
    assert (done.code, done.err) == (
        2,
        "error: recipes/legal-t5.yaml has no matrix, so no member 'x'\n"
        "  hint: name the recipe alone: recipes/legal-t5.yaml\n",
    )
    done = workplace.run("check", "recipes/swep.yaml:x")
    assert done.code == 1
    assert "recipes/swep.yaml:x: error: there is no such recipe" in done.err


def test_two_members_are_compared(workplace: Workplace) -> None:
    write(workplace, "sweep.yaml", SWEEP)
    one, other = (f"recipes/sweep.yaml:{name}" for name in NAMES[:2])
    done = workplace.run("diff", one, other)
    assert done.code == 0, done.err
    assert done.out == f"method.rank: 4 -> 8\nname: {NAMES[0]} -> {NAMES[1]}\n"
    done = workplace.run("diff", "recipes/legal-t5.yaml", one)
    assert "training.learning_rate: left open -> 0.001\n" in done.out


def test_a_member_with_the_lock_of_another_recipe(workplace: Workplace) -> None:
    path = write(workplace, "sweep.yaml", SWEEP)
    write(workplace, f"{NAMES[2]}.yaml", RECIPE)
    with pytest.raises(RecipeError) as caught:
        members(find_project(path), workplace.store)
    assert f"its member {NAMES[2]} would have the lock of " in caught.value.render()


def test_a_foreign_record_counts_as_none(workplace: Workplace) -> None:
    project = find_project(write(workplace, "sweep.yaml", SWEEP))
    wanted = members(project, workplace.store)
    (record,) = (workplace.store.root / "records" / "checked").iterdir()
    store, key = workplace.store, record.stem
    good = store.record("checked", key)
    assert good is not None
    without = {name: value for name, value in good.items() if name != "recipes"}
    several: list[object] = [5, {}, [], {"bases": 5}, without]
    for foreign in several:
        store.put_record("checked", key, foreign)
        assert members(project, workplace.store) == wanted
    record.write_text("{")
    assert members(project, workplace.store) == wanted
    for recipe in good["recipes"]:
        recipe["method"]["rank"] = "x"
    store.put_record("checked", key, good)
    assert load(wanted[0], workplace.store).recipe.method.rank == 4


# Locks of members


def lock(name: str, *, wheels: str, requirement: str = "torch") -> Lock:
    wheel = Wheel(name=wheels, version="1", file=f"{wheels}.whl", sha256="sha256:0", size=1)
    image = ExpectedImage(recipec="1", diff_ids=(), config="c", manifest="m", schema2="s")
    return Lock(
        recipe=name,
        recipe_digest=name,
        uv="1",
        layer_format=1,
        requirements=(requirement,),
        wheels=(wheel,),
        debs=(),
        model=Model(source="path:m", files=()),
        data=(),
        image=image,
    )


def test_a_first_lock_starts_from_a_sibling_without_its_promises() -> None:
    assert lock_to_start_from(None, []) is None
    start = lock_to_start_from(None, [(None, lock("a", wheels="torch"))])
    assert start is not None
    assert start.wheels == lock("a", wheels="torch").wheels
    assert start.image is None


def test_members_that_were_pinned_alike_stay_alike() -> None:
    own, sibling = lock("b", wheels="old"), lock("a", wheels="old")
    moved = lock("a", wheels="new", requirement="torch>=2")
    start = lock_to_start_from(own, [(sibling, moved)])
    assert start is not None
    assert (start.recipe, start.wheels, start.requirements) == ("b", moved.wheels, ("torch>=2",))
    assert lock_to_start_from(own, [(sibling, sibling)]) is own
    assert lock_to_start_from(lock("b", wheels="x"), [(sibling, moved)]) == lock("b", wheels="x")
    assert lock_to_start_from(own, [(None, moved)]) is own
