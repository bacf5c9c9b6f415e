"""The scripts of recipes for a GPU: every batch is moved, nothing waits within a step."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recipec.emit.tasks import KINDS
from recipec.plan.plan import Settings, TaskSettings
from tests.support.settings import CAUSAL, EVERY, on_gpu, together, vary
from tests.unit.emit.test_script import bundle
from tests.unit.emit.test_training_script import CHATS, EXPERTS, UNION

BLOCKS = [
    vary(
        CAUSAL,
        task=TaskSettings(type=kind, columns=(("text", "text"),), mask_share=0.15, span_length=3.0),
        model__family=family,
        model__type=model,
        training__overlong="split",
    )
    for kind, family, model in (
        ("causal-lm", "decoder-only", "gpt2"),
        ("masked-lm", "encoder-only", "bert"),
        ("span-corruption", "encoder-decoder", "t5"),
    )
]
WEIGHTED_TAGS = vary(EVERY[5], task__class_weights=(1.0,) * 7)
BASES = (*EVERY, CHATS, EXPERTS, WEIGHTED_TAGS, *BLOCKS)
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {},
    "nf4": {"method__type": "qlora", "method__quantization": "nf4"},
    "int8": {"method__type": "qlora", "method__quantization": "int8"},
    "layernorm": {},
    "prefix": {"method__virtual_tokens": 4, "method__also_train": ()},
    "prompt": {"method__virtual_tokens": 4, "method__also_train": ()},
    "ia3": {"method__feedforward_modules": ("dense",)},
    "bottleneck": {"method__reduction_factor": 4, "method__adapted_layers": ("output",)},
}
KNOBS: tuple[dict[str, Any], ...] = (
    UNION,
    {**UNION, "training__accumulation": 1, "training__mixed_precision": "bf16"},
    {"training__ema_decay": 0.9, "validation_rows": 0},
)
WAITS = {"item", "tolist", "cpu", "numpy", "synchronize"}
"""Calls that wait until the GPU has computed what they are asked for."""
RUNS = {"row_losses", "summed_loss", "class_logits", "tag_logits", "span_logits"}
"""Functions of the scripts that run the model on their second argument."""


def changes(base: Settings) -> Iterator[dict[str, Any]]:
    """Each method by itself, and LoRA and 8 bits with each set of knobs."""
    for method, more in METHODS.items():
        chosen = {"method__type": method, **more}
        yield chosen
        for knobs in KNOBS if method in ("lora", "int8") else ():
            # blocks are never too long
            split = "training__overlong" in knobs and base in BLOCKS
            yield {**chosen, **knobs, **({"training__overlong": "split"} if split else {})}


def several() -> Iterator[Settings]:
    """Each kind of task in several processes that have whole models or shards, on CPUs and GPUs."""
    for base, way in itertools.product(BASES, ("ddp", "fsdp")):
        knobs = UNION if base not in BLOCKS else {**UNION, "training__overlong": "split"}
        for change in ({"method__type": "full"}, {"method__type": "lora", **knobs}):
            plain = together(vary(base, **change), way, nodes=2, count=8)
            yield from (plain, on_gpus(plain))


def on_gpus(settings: Settings) -> Settings:
    """The settings for GPUs, as many as there are processes."""
    hardware = settings.hardware
    count = hardware.processes
    return together(on_gpu(settings), hardware.parallelism, nodes=hardware.nodes, count=count)


def variants() -> Iterator[Settings]:
    """Each kind of task in every way; and packed texts."""
    for base in BASES:
        yield from (on_gpu(vary(base, **change)) for change in changes(base))
    for base, steps in itertools.product((CAUSAL, CHATS, BLOCKS[0]), (1, 4)):
        yield on_gpu(vary(base, training__packing=True, training__accumulation=steps))


@pytest.fixture(scope="module")
def scripts() -> list[tuple[Settings, str, str]]:
    found = []
    for settings in variants():
        files = bundle(settings)
        found.append((settings, files["train.py"].decode(), files["evaluate.py"].decode()))
    return found


Scripts = list[tuple[Settings, str, str]]


@pytest.fixture(scope="module")
def of_several() -> Scripts:
    found = []
    for settings in several():
        files = bundle(settings)
        found.append((settings, files["train.py"].decode(), files["evaluate.py"].decode()))
    return found


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    return next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)


def _calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Calls of a function or method, by its last name."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name
    ]


def test_every_kind_of_task_is_looked_at() -> None:
    assert {kind.folder for kind in KINDS.values()} == {
        KINDS[base.task.type].folder for base in BASES
    }


def test_ruff_has_nothing_to_say(scripts: Scripts, of_several: Scripts, tmp_path: Path) -> None:
    for number, (_, train, evaluate) in enumerate([*scripts, *of_several]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "train.py").write_text(train)
        (folder / "evaluate.py").write_text(evaluate)
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length=100", "--no-cache", str(tmp_path)]
    rules = "--select=E,F,W,I,B,UP,SIM,RUF,C4,PTH,RET"
    for words in (("format", "--diff"), ("check", rules)):
        done = subprocess.run(
            [*ruff, *words, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert max(len(train.splitlines()) for _, train, _ in [*scripts, *of_several]) < 350


def test_every_process_adds_its_share_once(of_several: Scripts) -> None:
    for settings, train, _ in of_several:
        tree = ast.parse(train)
        gpu = settings.hardware.device == "cuda"
        shards = settings.hardware.parallelism == "fsdp"
        step = _function(tree, "train_step")
        value = "norm.item()" if gpu and not shards else "norm"
        loss = "loss.item()" if gpu else "loss"
        assert ast.unparse(step.body[-1]) == f"return (summed({loss}), {value})"
        (loop,) = (node for node in step.body if isinstance(node, ast.For) and len(node.body) > 1)
        assert "set_requires_gradient_sync(number == len(parts))" in ast.unparse(loop.body[0])
        assert bool(_calls(tree, "clip_grad_norm_")) == (gpu and not shards)
        assert len(_calls(_function(tree, "evaluate"), "together")) == 1


def test_a_model_is_shared_out_once_and_before_its_optimizer(of_several: Scripts) -> None:
    for settings, train, evaluate in of_several:
        main = _function(ast.parse(train), "main")
        gpu = settings.hardware.device == "cuda"
        lines = [ast.unparse(node) for node in main.body]
        model = next(line for line in lines if line.startswith("model = "))
        optimizer = next(line for line in lines if line.startswith("optimizer = "))
        assert lines.index(model) < lines.index(optimizer)
        if settings.hardware.parallelism == "fsdp":
            assert model.startswith("model = sharded(")
            assert model.endswith(", DEVICE)") == gpu
            assert len(_calls(ast.parse(evaluate), "sharded")) == 2
            assert len(_calls(main, "whole_weights")) == 1
        else:
            assert model.startswith("model = replicated(")
            assert model.endswith(".to(DEVICE))") == gpu
            assert "replicated" not in evaluate  # only gradients are summed up
        (saving,) = (
            n
            for n in main.body
            if isinstance(n, ast.With | ast.If) and "new_model" in ast.unparse(n)
        )
        assert isinstance(saving, ast.If)
        assert ast.unparse(saving.test) == "run.first"


def test_every_batch_that_the_model_sees_was_moved(scripts: Scripts) -> None:
    looked_at = 0
    for _, train, _ in scripts:
        tree = ast.parse(train)
        assert _calls(_function(tree, "train_step"), "summed_loss")
        for name in ("train_step", "evaluate"):
            function = _function(tree, name)
            moved = {
                ast.unparse(node.targets[0])
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("to_device(")
            }
            for call in (call for run in RUNS for call in _calls(function, run)):
                batch = ast.unparse(call.args[1])
                assert batch in moved or batch.startswith("to_device("), ast.unparse(call)
                looked_at += 1
            for call in _calls(function, "generate"):
                inputs = ast.unparse(next(k.value for k in call.keywords if k.arg == "input_ids"))
                assert inputs.partition("[")[0] in moved
    assert looked_at >= 2 * len(scripts)


def test_a_step_waits_for_the_gpu_where_it_returns_and_nowhere_else(scripts: Scripts) -> None:
    for _, train, _ in scripts:
        tree = ast.parse(train)
        step = _function(tree, "train_step")
        assert ast.unparse(step.body[-1]) == "return (loss.item(), norm.item())"
        for statement in step.body[:-1]:
            assert not [call for name in WAITS for call in _calls(statement, name)]
            for call in _calls(statement, "int") + _calls(statement, "weight_of"):
                # the batch before it is moved
                assert ast.unparse(call.args[0]).startswith("batch")
        assert not [call for name in WAITS for call in _calls(_function(tree, "summed_loss"), name)]
        assert ".backward()" in ast.unparse(step)


def test_what_is_made_for_a_device_names_it(scripts: Scripts) -> None:
    """Autocast, the scaler, weights of classes; and the model lies there before the optimizer."""
    for settings, train, evaluate in scripts:
        tree = ast.parse(train)
        for call in _calls(tree, "autocast") + _calls(tree, "GradScaler"):
            assert ast.unparse(call.args[0]) == "DEVICE"
        for call in _calls(tree, "RandomState"):
            assert ast.unparse(call) == "RandomState(DEVICE)"
        assert len(_calls(tree, "RandomState")) == 1
        weights = [c for c in _calls(tree, "tensor") if "CLASS_WEIGHTS" in ast.unparse(c)]
        in_loss = [c for c in weights if c.keywords]
        assert bool(in_loss) == bool(settings.task.class_weights)
        assert all(ast.unparse(c).endswith("device=logits.device)") for c in in_loss)
        quantized = bool(settings.method.quantization)
        assert ("device_map={'': DEVICE}" in ast.unparse(tree)) == quantized
        main = [ast.unparse(node) for node in _function(tree, "main").body]
        model = next(line for line in main if line.startswith("model = "))
        assert model.endswith(".to(DEVICE)") != quantized
        optimizer = next(line for line in main if line.startswith("optimizer = "))
        assert main.index(model) < main.index(optimizer)
        assert evaluate.count(".to(DEVICE)") == (0 if quantized else 2)
        assert "plain_kernels" not in train


@pytest.mark.parametrize("base", BASES, ids=lambda s: f"{s.task.type}-{s.model.type}")
def test_a_script_for_cpus_has_no_branch_of_gpus(base: Settings) -> None:
    for change in changes(base):
        files = bundle(vary(base, **change))
        for name in ("train.py", "evaluate.py", "run.json"):
            text = files[name].decode()
            for word in ("DEVICE", "cuda", "to_device", ".cpu()", "RandomState", "accelerator"):
                assert word not in text, (name, word)


def test_run_json_names_the_gpu() -> None:
    plain = json.loads(bundle(on_gpu(CAUSAL))["run.json"])
    assert plain["accelerator"] == {
        "device": "cuda",
        "name": "nvidia-h100-80gb",
        "capability": "9.0",
    }
    assert plain["hardware_class"] == "nvidia-h100-80gb-sm90"
    assert plain["environment"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    # the CPU draws new weights, so its kernels are pinned too
    assert plain["environment"]["ATEN_CPU_CAPABILITY"] == "avx2"
