"""plan: every number with its reason, and the same on every machine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec.catalog import support
from recipec.pins.lockfile import DataFile, Lock, Model
from recipec.plan.determinism import environment_of, hardware_class_of
from recipec.plan.make import make_plan
from recipec.plan.plan import Decision, Plan
from recipec.recipe.schema import Recipe

ZERO = "sha256:" + "0" * 64
T5: dict[str, Any] = {"model_type": "t5", "n_positions": 128}


def lock(rows: int = 100, *, test: int = 10) -> Lock:
    sizes = {"train": rows, "test": test}
    return Lock(
        recipe="recipes/a.yaml",
        recipe_digest=ZERO,
        uv="0.9",
        layer_format=1,
        wheels=(),
        debs=(),
        model=Model(source="path:m", license="MIT", files=()),
        data=tuple(
            DataFile(split=split, path=f"{split}.jsonl", sha256=ZERO, size=1, rows=count)
            for split, count in sizes.items()
        ),
        labels=("no", "yes"),
    )


def recipe(task: str = "summarization", **sections: Any) -> Recipe:
    plain: dict[str, Any] = {
        "name": "a",
        "task": {"type": task},
        "domain": {"data": {"train": "train.jsonl", "test": "test.jsonl"}},
        "architecture": {"model": "path:m"},
    }
    for name, values in sections.items():
        plain[name] = {**plain.get(name, {}), **values} if isinstance(values, dict) else values
    return msgspec.convert(plain, Recipe)


def plan(
    given_recipe: Recipe | None = None,
    *,
    rows: int = 100,
    family: str = "encoder-decoder",
    config: Mapping[str, Any] = T5,
) -> Plan:
    return make_plan(
        given_recipe or recipe(),
        lock(rows),
        family=family,
        model_type=str(config["model_type"]),
        config=config,
    )


def decision(made: Plan, key: str) -> Decision:
    found = [one for one in made.decisions if one.key == key]
    assert len(found) == 1, [one.key for one in made.decisions]
    return found[0]


def test_the_defaults_of_a_recipe_that_leaves_everything_open() -> None:
    settings = plan().settings
    assert (settings.method.type, settings.method.rank, settings.method.alpha) == ("lora", 16, 32)
    assert settings.method.target_modules == ("k", "o", "q", "v", "wi", "wo")
    assert (
        settings.training.batch_size,
        settings.training.micro_batch_size,
        settings.training.accumulation,
    ) == (16, 16, 1)
    assert (
        settings.training.epochs,
        settings.training.steps_per_epoch,
        settings.training.total_steps,
    ) == (3, 7, 21)
    assert (settings.training.learning_rate, settings.training.warmup_steps) == (3e-4, 2)
    assert (settings.training.max_source_length, settings.training.max_target_length) == (512, 128)
    assert settings.evaluation.max_new_tokens == 128
    assert settings.evaluation.metrics == ("rouge1", "rouge2", "rougeL")
    assert (settings.task.column("source"), settings.task.column("target")) == ("source", "target")
    assert (settings.task.column("text"), settings.task.column("label")) == ("", "")
    assert settings.hardware.reproducibility == "portable"
    assert (settings.train_rows, settings.validation_rows, settings.test_rows) == (100, 0, 10)


def test_what_the_recipe_says_is_taken_and_named_as_its_own() -> None:
    made = plan(recipe(training={"learning_rate": 1, "seed": 7, "epochs": 2}, method={"rank": 4}))
    assert made.settings.training.learning_rate == 1.0
    assert isinstance(made.settings.training.learning_rate, float)
    for key in ("training.learning_rate", "training.seed", "training.epochs", "method.rank"):
        assert decision(made, key).origin == "recipe", key
        assert decision(made, key).reason == "the recipe says so", key
    for key in ("training.schedule", "training.batch_size", "method.alpha", "hardware.threads"):
        assert decision(made, key).origin == "default", key


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("task", sorted({task for task, _, _ in support.cells()}))
def test_every_decision_has_a_reason_and_a_key_of_the_language(task: str, method: str) -> None:
    made = plan(recipe(task, method={"type": method}))
    keys = [one.key for one in made.decisions]
    assert len(keys) == len(set(keys))
    for one in made.decisions:
        assert one.reason
        assert one.origin in {"recipe", "default", "derived"}
        section = one.key.partition(".")[0]
        assert section in Recipe.__dataclass_fields__, one.key


UNASKED = {
    *("evaluation.at_least", "evaluation.at_most"),  # no gates: nothing to decide
    *("training.decay_ratio", "training.power"),  # of other schedules
    *("training.evaluate_every", "training.early_stopping", "training.keep"),  # no validation rows
    *("training.class_weights", "method.ranks", "method.lora_plus_ratio"),
    *("method.also_train", "method.freeze"),
}
"""Keys of which nothing is said unless the recipe does."""


@pytest.mark.parametrize("task", sorted({task for task, _, _ in support.cells()}))
def test_every_open_value_of_a_section_is_decided(task: str) -> None:
    """A default that `recipec plan` did not print would be a default nobody can question."""
    wanted = recipe(task)
    keys = {one.key for one in plan(wanted).decisions}
    tasks, methods = support.tasks(), support.methods()
    others = {knob for facts in tasks.values() for knob in facts.knobs} - {*tasks[task].knobs}
    knobs = {knob for facts in methods.values() for knob in facts.knobs}
    others |= {f"method.{knob}" for knob in knobs - {*methods[wanted.method.type].knobs}}
    for section in ("training", "evaluation", "method"):
        for field in dataclasses.fields(getattr(wanted, section)):
            key = f"{section}.{field.name}"
            assert (key in keys) != (key in UNASKED | others), key


def test_full_fine_tuning_has_no_adapter_and_a_lower_rate() -> None:
    settings = plan(recipe(method={"type": "full"})).settings
    assert (settings.method.rank, settings.method.alpha, settings.method.dropout) == (0, 0, 0.0)
    assert settings.method.target_modules == ()
    assert settings.training.learning_rate == 5e-5


def test_the_reasons_as_users_read_them() -> None:
    made = plan(recipe(training={"batch_size": 8}), rows=1234)
    assert decision(made, "training.steps_per_epoch") == Decision(
        key="training.steps_per_epoch",
        value=155,
        unit="steps",
        origin="derived",
        reason="1,234 rows in batches of 8; the last may be smaller",
    )
    assert decision(made, "training.steps").reason == "3 epochs of 155"
    assert decision(made, "training.warmup_steps").reason == "0.06 of 465 steps"


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"batch_size": 32, "micro_batch_size": 8}, (32, 8, 4)),
        ({"micro_batch_size": 4}, (4, 4, 1)),
        ({"batch_size": 6}, (6, 6, 1)),
    ],
)
def test_batches(training: dict[str, int], expected: tuple[int, int, int]) -> None:
    settings = plan(recipe(training=training)).settings
    assert (
        settings.training.batch_size,
        settings.training.micro_batch_size,
        settings.training.accumulation,
    ) == expected


def test_steps_instead_of_epochs() -> None:
    made = plan(recipe(training={"steps": 15}))
    assert (made.settings.training.total_steps, made.settings.training.epochs) == (15, 3)
    assert decision(made, "training.steps").origin == "recipe"
    assert decision(made, "training.epochs").reason == "15 steps begin the last of them"


@pytest.mark.parametrize(
    ("ratio", "steps", "warmup"), [(0, 100, 0), (1, 100, 100), (0.07, 100, 7), (0.061, 100, 7)]
)
def test_warmup(ratio: float, steps: int, warmup: int) -> None:
    training = {"warmup_ratio": ratio, "steps": steps}
    assert plan(recipe(training=training)).settings.training.warmup_steps == warmup


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({"model_type": "gpt2", "n_positions": 256}, 256),
        ({"model_type": "gpt2", "n_positions": 1024}, 512),
        ({"model_type": "llama", "max_position_embeddings": 4096}, 512),
        ({"model_type": "bert", "max_position_embeddings": 128}, 128),
        ({"model_type": "roberta", "max_position_embeddings": 130}, 128),
        ({"model_type": "other"}, 512),
    ],
)
def test_a_text_is_no_longer_than_the_model_has_positions(
    config: dict[str, Any], longest: int
) -> None:
    made = plan(recipe("causal-lm"), family="decoder-only", config=config)
    assert made.settings.training.max_length == longest
    assert (made.settings.training.max_source_length, made.settings.evaluation.max_new_tokens) == (
        0,
        0,
    )
    if longest < 512:
        reason = f"the model has {longest} positions"
        assert decision(made, "training.max_length").reason == reason


def test_new_tokens_follow_the_longest_target() -> None:
    assert plan(recipe(training={"max_target_length": 40})).settings.evaluation.max_new_tokens == 40
    assert plan(recipe(evaluation={"max_new_tokens": 9})).settings.evaluation.max_new_tokens == 9


def test_gates_are_sorted() -> None:
    gates = {"rougeL": 0.4, "rouge1": 0.5}
    settings = plan(recipe(evaluation={"at_least": gates, "at_most": {"loss": 2}})).settings
    assert settings.evaluation.at_least == (("rouge1", 0.5), ("rougeL", 0.4))
    assert settings.evaluation.at_most == (("loss", 2.0),)


def test_labels_and_licence_come_from_the_lock() -> None:
    settings = plan(recipe("sequence-classification"), family="encoder-only").settings
    assert settings.task.labels == ("no", "yes")
    assert settings.model.license == "MIT"


@given(
    rows=st.integers(1, 5000),
    batch=st.integers(1, 64),
    epochs=st.integers(1, 9),
    share=st.floats(0, 1),
)
def test_the_numbers_hang_together(rows: int, batch: int, epochs: int, share: float) -> None:
    training = {"batch_size": batch, "epochs": epochs, "warmup_ratio": share}
    settings = plan(recipe(training=training), rows=rows).settings
    assert settings.training.steps_per_epoch == math.ceil(rows / batch)
    assert (
        settings.training.total_steps
        == settings.training.epochs * settings.training.steps_per_epoch
    )
    assert 0 <= settings.training.warmup_steps <= settings.training.total_steps
    assert settings.training.log_every >= 1
    assert 1 <= settings.training.checkpoint_every <= 500
    assert (
        settings.training.micro_batch_size * settings.training.accumulation
        == settings.training.batch_size
    )
    assert plan(recipe(training=training), rows=rows) == plan(recipe(training=training), rows=rows)


# What pins the bytes


def test_the_environment_of_a_portable_run() -> None:
    assert environment_of("portable", 2) == (
        ("ATEN_CPU_CAPABILITY", "avx2"),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        ("MKL_CBWR", "COMPATIBLE"),
        ("MKL_NUM_THREADS", "2"),
        ("OMP_DYNAMIC", "FALSE"),
        ("OMP_NUM_THREADS", "2"),
        ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ("PYTHONHASHSEED", "0"),
    )


@pytest.mark.parametrize("mode", ["bitwise", "seeded"])
def test_other_modes_leave_the_cpu_as_it_is(mode: str) -> None:
    names = [name for name, _ in environment_of(mode, 1)]
    assert names == sorted(names)
    assert not {"ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA"} & set(names)
    assert hardware_class_of(mode) == "cpu-x86-64"


@pytest.mark.parametrize(
    ("attention", "mode", "asked"),
    [
        ("flash_attention_2", "bitwise", True),
        ("flash_attention_2", "seeded", False),
        ("sdpa", "bitwise", False),
    ],
)
def test_flash_attention_adds_up_in_a_fixed_order_where_bytes_are_promised(
    attention: str, mode: str, asked: bool
) -> None:
    chosen = recipe(
        reproducibility=mode,
        hardware={"accelerator": "nvidia-h100"},
        architecture={"attention": attention},
    )
    environment = dict(plan(chosen).settings.hardware.environment)
    assert (environment.get("FLASH_ATTENTION_DETERMINISTIC") == "1") is asked


def test_the_plan_carries_mode_class_and_environment_together() -> None:
    for mode in ("portable", "bitwise", "seeded"):
        settings = plan(recipe(reproducibility=mode, hardware={"threads": 4})).settings
        assert settings.hardware.hardware_class == hardware_class_of(mode)
        assert settings.hardware.environment == environment_of(mode, 4)
    assert hardware_class_of("portable") == "cpu-x86-64-v3-portable"
