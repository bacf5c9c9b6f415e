"""`recipec verify RECIPE`: build again, train again, compare every byte.

Both happen in a temporary place: layers are made anew from the locked inputs, training runs into an
empty folder. What is compared: the image with the lock's digests, every file of each stage with
its receipt and with the digests that the lock carries.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

from recipec.cli.common import add_build_options, add_recipe
from recipec.cli.compile import as_locked, read_lock
from recipec.cli.console import print_json, quiet_or_bars, say
from recipec.cli.lock import read_receipt
from recipec.cli.project import find_project
from recipec.cli.run import ENGINES
from recipec.cli.state import Built
from recipec.errors import OK, EnvironmentLacks, HashMismatch
from recipec.pins.lockfile import Lock
from recipec.progress import Progress
from recipec.store import Store, digest_of_file, make_folder


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One comparison: what was compared, with what, and where they part if they do."""

    what: str
    against: str
    expected: str
    found: str
    detail: str = ""

    @property
    def same(self) -> bool:
        """Whether both are equal."""
        return self.expected == self.found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recipe(parser)
    add_build_options(parser)
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument(
        "--image-only", action="store_true", help="compare the image, do not train again"
    )


def run(options: argparse.Namespace) -> int:
    """Verify a recipe. Raises HashMismatch naming the first thing that differs."""
    project, store = find_project(options.recipe, options.output), Store()
    with quiet_or_bars(options.json) as bars, store.scratch() as scratch:
        built = as_locked(project, store=store, progress=bars, jobs=options.jobs)
        lock = read_lock(project)
        assert lock is not None, "a locked compile has a lock"
        findings = list(_rebuild(built, lock, store, scratch, bars, options.jobs))
        if not options.image_only and all(finding.same for finding in findings):
            findings += _retrain(built, lock, store, scratch, options.engine, bars)
    _report(findings, as_json=options.json)
    wrong = next((finding for finding in findings if not finding.same), None)
    if wrong is not None:
        raise HashMismatch(
            f"{wrong.what} (against {wrong.against})",
            expected=wrong.expected,
            found=wrong.found,
            hint=wrong.detail,
        )
    return OK


def _rebuild(
    built: Built, lock: Lock, store: Store, scratch: Path, progress: Progress, jobs: int | None
) -> list[Finding]:
    """Make every layer anew in an empty store that has only the inputs."""
    from recipec.cli.corpus import compile_corpus
    from recipec.cli.frontend import load
    from recipec.cli.passes import run_passes

    loaded = load(built.project, store)

    def adapt(family: str) -> Built | None:
        # the corpus is verified by its own recipe: here its build is only looked up
        return compile_corpus(
            loaded, family, store=store, progress=progress, locked=True, jobs=jobs
        )

    empty = Store(scratch / "store")
    _lend_inputs(lock, store, empty)
    made = run_passes(
        loaded,
        old=lock,
        store=empty,
        progress=progress,
        locked=True,
        jobs=jobs or os.cpu_count() or 1,
        adapt=adapt,
        anew=True,
    )
    assert lock.image is not None, "a locked compile has an image in its lock"
    findings = [
        Finding(
            what=f"layer {layer.name}", against="the lock", expected=expected, found=layer.diff_id
        )
        for layer, expected in zip(made.image.layers, lock.image.diff_ids, strict=False)
    ]
    for name, expected, found in (
        ("image config", lock.image.config, made.image.config.digest),
        ("image manifest", lock.image.manifest, made.image.manifest.digest),
        ("schema2 manifest", lock.image.schema2, made.image.schema2.digest),
        ("run id", built.run_id, made.run_id),
    ):
        findings.append(Finding(what=name, against="the lock", expected=expected, found=found))
    return findings


def _lend_inputs(lock: Lock, store: Store, empty: Store) -> None:
    """Hard-link the inputs that the store has, so that verifying downloads nothing twice."""
    inputs = [file.sha256 for files in (lock.wheels, lock.debs) for file in files]
    inputs += [lock.base.config] if lock.base else []
    for digest in [*inputs, *(file.sha256 for file in lock.model.files)]:
        if store.has(digest):
            target = empty.path(digest)
            make_folder(target.parent)
            if not target.exists():
                os.link(store.path(digest), target)


def _retrain(
    built: Built, lock: Lock, store: Store, scratch: Path, engine_name: str, progress: Progress
) -> list[Finding]:
    from recipec.cli.bases import bring_for
    from recipec.cli.execute import execute, gpus_of
    from recipec.engines.select import pick

    engine = pick(engine_name, store, gpus=gpus_of(built))
    bring_for(engine, built, store, progress)
    findings: list[Finding] = []
    trained = scratch / "train"
    for stage in ("train", "evaluate"):
        receipt = read_receipt(built, stage)
        promised = lock.outputs if stage == "train" else None
        if receipt is None and promised is None:
            if stage == "train":
                raise EnvironmentLacks(
                    "there is nothing to compare with: no receipt, and no outputs in the lock",
                    hint="train first: `dvc repro`, or `recipec run`",
                )
            continue
        say(f"{built.name}: {stage} again with {engine.name}")
        folder = scratch / stage
        execute(built, stage=stage, engine=engine, store=store, folder=folder, trained=trained)
        again = read_receipt(replace_folder(built, scratch), stage)
        assert again is not None, "a stage that ended well has a receipt"
        if promised is not None and promised.run_id == built.run_id:
            findings += _compare(stage, "the lock", promised.files, again["outputs"], folder, None)
        if receipt is not None and receipt["run_id"] == built.run_id:
            old = built.folder / stage
            findings += _compare(
                stage, "the receipt", receipt["outputs"], again["outputs"], folder, old
            )
    return findings


def replace_folder(built: Built, scratch: Path) -> Built:
    """The same build, with its outputs looked for in `scratch`."""
    link = scratch / "again" / built.name
    make_folder(link.parent)
    if not link.exists():
        link.symlink_to(scratch)
    return replace(built, project=replace(built.project, build=link.parent))


def _compare(
    stage: str,
    against: str,
    expected: dict[str, str],
    found: dict[str, str],
    folder: Path,
    old: Path | None,
) -> list[Finding]:
    findings = []
    for path in sorted({*expected, *found}):
        finding = Finding(
            what=f"{stage}/{path}",
            against=against,
            expected=expected.get(path, "no such file"),
            found=found.get(path, "no such file"),
        )
        if old is not None and (old / path).is_file() and finding.same:
            # The receipt speaks of the file that was written; the file may have changed since.
            finding = replace(finding, expected=digest_of_file(old / path))
        if not finding.same and old is not None and path.endswith(".safetensors"):
            finding = replace(finding, detail=first_tensor(old / path, folder / path))
        findings.append(finding)
    return findings


def first_tensor(one: Path, other: Path) -> str:
    """Which tensor of two safetensors files is the first to differ, in words."""
    from recipec.cli.tensors import differing_tensors

    if not one.is_file() or not other.is_file():
        return ""
    names = differing_tensors(one, other)
    if not names:
        return "the tensors are equal; only the file's header differs"
    return f"the first tensor that differs is {names[0]} ({len(names)} in all)"


def _report(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "what": f.what,
                "against": f.against,
                "expected": f.expected,
                "found": f.found,
                "same": f.same,
                "detail": f.detail,
            }
            for f in findings
        ]
        print_json({"same": all(f.same for f in findings), "compared": rows})
        return
    for finding in findings:
        mark = "same" if finding.same else "DIFFERS"
        say(f"  {mark:8}{finding.found[:19]}  {finding.what} (against {finding.against})")
    differing = sum(not finding.same for finding in findings)
    verdict = f"{differing} differ" if differing else "every byte is the same"
    say(f"{len(findings)} compared: {verdict}")
