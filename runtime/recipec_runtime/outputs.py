"""What a run leaves: model folder, metrics, receipt.

In: what was measured and saved. Out: files under the output folder, each whole. The receipt holds
nothing that differs between two runs of one address; the clock's and the machine's facts go into
machine.json.
"""

from __future__ import annotations

import json
import platform
import resource
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipec_runtime import files
from recipec_runtime.contract import RunFile
from recipec_runtime.errors import GateFailed, HashMismatch
from recipec_runtime.inputs import check_file, digest_of_file, digest_of_inputs

if TYPE_CHECKING:
    from recipec_runtime.run import Run

RECEIPT, MACHINE = "receipt.json", "machine.json"
PACKAGES = (
    *("bitsandbytes", "numpy", "peft", "pytorch-optimizer"),
    *("safetensors", "tokenizers", "torch", "transformers"),
)
TOKENIZER = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""Files that make up a tokenizer, by transformers' names."""

write = files.write


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows as JSON Lines, ASCII."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode("ascii")


def prepare(output: Path) -> None:
    """Remove what an earlier run left, so that old and new never mix; a checkpoint stays."""
    with files.disk(output):
        for name in (RECEIPT, MACHINE, "metrics.json", "predictions.jsonl", "history.csv"):
            (output / name).unlink(missing_ok=True)
        for part in output.glob(".*.part"):
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        for name in ("model", "trackers"):
            if (output / name).is_dir():
                shutil.rmtree(output / name)


@contextmanager
def new_model(path: Path, root: Path, base: Path) -> Iterator[Path]:
    """A folder for the tuned model; completed and put at `path` on leaving.

    `base` is the folder of the model to tune, whose tokenizer it keeps.
    """
    with files.new_folder(path) as folder:
        yield folder
        for name in TOKENIZER:
            source = base / name
            if source.is_file() and not (folder / name).exists():
                shutil.copyfile(source, folder / name)
        # peft writes a card with this machine's paths; the recipe's takes its place
        shutil.copyfile(root / "recipe" / "README.md", folder / "README.md")
        for config in sorted(folder.glob("adapter_config.json")):
            sort_lists(config)
        for weights in sorted(folder.glob("*.safetensors")):
            sort_metadata(weights)


def sort_lists(path: Path) -> None:
    """Rewrite a JSON file with sorted keys and sorted lists of texts.

    peft keeps target_modules as a set, so the order it writes is that of this process's hashes.
    """
    plain = json.loads(path.read_bytes())
    for key, value in plain.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            plain[key] = sorted(value)
    path.write_bytes(files.to_json(plain))


def sort_metadata(path: Path) -> None:
    """Sort the metadata of a safetensors file, which its writer keeps in a hash map.

    Layout: 8 bytes little-endian length, a JSON header padded with spaces, then the tensors.
    The header keeps its length, so no tensor moves.
    """
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        if len(header.get("__metadata__", {})) < 2:
            return
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        if len(text) <= length:
            stream.seek(8)
            stream.write(text.ljust(length))


def finish(run: Run, metrics: dict[str, Any], *, machine: dict[str, Any]) -> None:
    """Write metrics.json, machine.json and, last of all, receipt.json."""
    write(run.output / "metrics.json", files.to_json(metrics))
    write(run.output / MACHINE, files.to_json({**machine, **_machine(run)}))
    write(run.output / RECEIPT, files.to_json(receipt(run)))


def receipt(run: Run) -> dict[str, Any]:
    """The receipt as plain values: what went in, by what, and the digest of all that came out."""
    plain: dict[str, Any] = {
        "version": 1,
        "name": run.spec.name,
        "stage": run.stage,
        "run_id": run.run_id,
        "hardware_class": run.spec.hardware_class,
        "reproducibility": run.spec.reproducibility,
        "reproducible": run.engine != "host" and run.spec.reproducibility != "seeded",
        "threads": run.spec.threads,
        "world_size": run.spec.world_size,
        "inputs": digest_of_inputs(run.spec.inputs),
        "versions": {name: found for name in PACKAGES if (found := version_of(name))},
        "outputs": _digests(run.output),
    }
    if run.device is not None:
        plain["device"] = run.device.identity
    if run.spec.adapted is not None:
        plain["adapted"] = run.spec.adapted
    if run.stage == "evaluate":
        plain["trained"] = trained_files(run.trained)
    return plain


def trained_files(trained: Path) -> dict[str, str]:
    """Digests of the tuned model's files as the train stage's receipt gives them."""
    path = trained / RECEIPT
    try:
        written = json.loads(path.read_bytes())["outputs"]
        return {name: digest for name, digest in written.items() if name.startswith("model/")}
    except (OSError, ValueError, KeyError) as error:
        raise HashMismatch(
            f"there is no trained model with a receipt in {trained}",
            hint="run the train stage first; RECIPEC_TRAINED names its output folder",
        ) from error


def verify_trained(trained: Path) -> None:
    """Check the tuned model against the train stage's receipt. Raises HashMismatch."""
    for name, digest in trained_files(trained).items():
        check_file(trained / name, name, digest)


def verify_adapted(adapted: Path, run_id: str) -> Path:
    """The model folder of the run `run_id`, checked. Raises HashMismatch if it is another's."""
    files = trained_files(adapted)
    found = json.loads((adapted / RECEIPT).read_bytes()).get("run_id")
    if found != run_id:
        raise HashMismatch(
            "the model that has read the corpus is of another run\n"
            f"  expected {run_id}\n"
            f"  found    {found}",
            hint="run the corpus' train stage again: `dvc repro`",
        )
    for name, digest in files.items():
        check_file(adapted / name, name, digest)
    return adapted / "model"


def check_gates(spec: RunFile, split: str, numbers: dict[str, float]) -> None:
    """Raise GateFailed, naming every gate that does not hold."""
    failed = [
        f"{split} {name} is {numbers.get(name)}, and the recipe asks for {word} {bound}"
        for word, gates in (("at least", spec.at_least), ("at most", spec.at_most))
        for name, bound in sorted(gates.items())
        if name not in numbers
        or (numbers[name] < bound if word == "at least" else numbers[name] > bound)
    ]
    if failed:
        raise GateFailed(
            "a gate does not hold: " + "; ".join(failed),
            hint="metrics.json and predictions.jsonl are written; train longer or lower the gate",
        )


def _digests(output: Path) -> dict[str, str]:
    skip = {RECEIPT, MACHINE}
    found = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        hidden = name.startswith((".", "checkpoint/", "trackers/"))
        if path.is_file() and name not in skip and not hidden:
            found[name] = digest_of_file(path)
    return found


def version_of(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine(run: Run) -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "engine": run.engine,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "python": platform.python_version(),
        "seconds": run.elapsed,
        **(run.device.facts() if run.device is not None else {}),
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    line = next((line for line in text.splitlines() if line.startswith("model name")), "")
    return line.partition(":")[2].strip() or platform.machine()
