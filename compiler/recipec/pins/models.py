"""The model to tune: which of its files count, what its config says, where they come from.

In: the recipe's `architecture.model`. Out: the pinned model, its facts, and its files by digest.
Only safetensors are taken: a pickle can run code when it is opened, and so can a model that brings
its own. The family is read from config.json, never from a name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec.catalog import support
from recipec.errors import Diagnostic, RecipeError
from recipec.pins.lockfile import Model, ModelFile
from recipec.store import Store

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".npz")
_KEPT = (".json", ".txt", ".model", ".jinja")
_KEPT_NAMES = ("LICENSE", "NOTICE", "COPYING")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What the rest of the compiler needs to know of a model."""

    config: Mapping[str, Any]
    """config.json as it is."""
    model_type: str
    family: str
    """encoder-only, decoder-only or encoder-decoder."""
    files: tuple[ModelFile, ...]
    license: str | None
    commit: str | None


@dataclass(frozen=True, kw_only=True)
class PinnedModel:
    """A model by hash, its facts, and where each of its files lies."""

    model: Model
    facts: ModelFacts
    sources: Mapping[str, Path]


def read_folder(source: str, *, project: Path, store: Store) -> PinnedModel:
    """Pin `path:DIR`. Raises RecipeError when the folder holds no model that we may open."""
    name = source.removeprefix("path:")
    folder = project / name
    try:
        present = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        raise _refused(
            name,
            "no such folder" if missing else f"cannot be read: {error.strerror or error}",
            "`architecture.model` names a folder relative to the project, such as"
            " path:models/tiny-t5",
        ) from error
    pickles = [file for file in present if file.endswith(_PICKLES)]
    if pickles:
        raise _refused(
            f"{name}/{pickles[0]}",
            "pickled weights are refused: opening them can run code",
            "save the model with `save_pretrained(..., safe_serialization=True)` and remove"
            " this file",
        )
    chosen = select(present, where=name)
    files, sources = [], {}
    for file in chosen:
        path = folder / file
        digest = store.digest_of(path)
        files.append(ModelFile(path=file, sha256=digest, size=path.stat().st_size))
        sources[digest] = path
    license = license_of_card(_text(folder / "README.md")) if "README.md" in present else None
    return pinned(source, tuple(files), sources, license=license, commit=None, where=name)


def pinned(
    source: str,
    files: tuple[ModelFile, ...],
    sources: Mapping[str, Path],
    *,
    license: str | None,
    commit: str | None,
    where: str,
) -> PinnedModel:
    """A pinned model of these files, its config.json read and judged. Raises RecipeError."""

    def read(path: str) -> bytes | None:
        return next((sources[f.sha256].read_bytes() for f in files if f.path == path), None)

    config = read_config(read, where=where)
    _check_shards(read, {file.path for file in files}, where=where)
    facts = ModelFacts(
        config=config,
        model_type=config["model_type"],
        family=family_of(config, where=where),
        files=files,
        license=license,
        commit=commit,
    )
    model = Model(source=source, commit=commit, license=license, files=files)
    return PinnedModel(model=model, facts=facts, sources=sources)


def select(names: Collection[str], *, where: str) -> tuple[str, ...]:
    """The files of a model's folder that its image gets, sorted: weights, config, tokenizer."""
    if "config.json" not in names:
        raise _refused(
            where,
            "the model has no config.json",
            "a model folder is what `save_pretrained` writes: config.json, model.safetensors and"
            " the tokenizer's files",
        )
    if "model.safetensors" in names:
        weights = {"model.safetensors"}
    else:
        weights = {name for name in names if _SHARD.fullmatch(name)} if _INDEX in names else set()
    if not weights:
        pickled = any(name.endswith(_PICKLES) for name in names)
        raise _refused(
            where,
            "the model has pickled weights only" if pickled else "the model has no weights",
            f"it needs model.safetensors, or {_INDEX} and its shards",
        )
    kept = {
        name
        for name in names
        if not name.startswith(".")
        and "/" not in name
        and (name.endswith(_KEPT) or name.startswith(_KEPT_NAMES))
    }
    if "model.safetensors" in names:
        kept.discard(_INDEX)
    return tuple(sorted(kept | weights))


def read_config(read: Callable[[str], bytes | None], *, where: str) -> dict[str, Any]:
    """config.json, checked: an object with a `model_type` and no code of its own."""
    for name in ("config.json", "tokenizer_config.json"):
        data = read(name)
        if data is None:
            continue
        try:
            value = json.loads(data)
        except ValueError as error:
            raise _refused(
                f"{where}/{name}", f"not JSON: {error}", "write the file anew"
            ) from error
        if not isinstance(value, dict):
            raise _refused(f"{where}/{name}", "not a JSON object", "write the file anew")
        if "auto_map" in value:
            raise _refused(
                f"{where}/{name}",
                "the model brings its own code (`auto_map`), which is never run",
                "use a model whose architecture transformers has itself",
            )
        if name == "config.json":
            config = value
    if not isinstance(config.get("model_type"), str):
        raise _refused(
            f"{where}/config.json",
            "it has no `model_type`",
            "add the architecture's name in transformers, such as `t5` or `llama`",
        )
    return config


def family_of(config: Mapping[str, Any], *, where: str) -> str:
    """The family, from what config.json says. Raises RecipeError if it does not say enough."""
    if config.get("is_encoder_decoder"):
        return "encoder-decoder"
    named = [str(name) for name in config.get("architectures") or ()]
    if config.get("is_decoder") or any(n.endswith(("ForCausalLM", "LMHeadModel")) for n in named):
        return "decoder-only"
    if any(name.endswith(("ForMaskedLM", "ForPreTraining")) for name in named):
        return "encoder-only"
    known = support.models().get(str(config.get("model_type")))
    if known is not None:
        return known.family
    raise _refused(
        f"{where}/config.json",
        f"it does not say whether a {config.get('model_type')} model is an encoder, a decoder or"
        " both",
        "name the model's class in `architectures`, such as LlamaForCausalLM or BertForMaskedLM",
    )


def license_of_card(card: str) -> str | None:
    """`license:` of a model card's front matter, or None."""
    front = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", card, re.DOTALL)
    if not front:
        return None
    found = re.search(r"^license:[ \t]*[\"']?([^\"'\n#]+)", front[1], re.MULTILINE)
    return found[1].strip() or None if found else None


def _check_shards(read: Callable[[str], bytes | None], names: set[str], *, where: str) -> None:
    index = read(_INDEX)
    if index is None:
        return
    try:
        wanted = set(json.loads(index)["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _refused(f"{where}/{_INDEX}", "it has no `weight_map`", "save it anew") from error
    missing = sorted(str(name) for name in wanted - names)
    if missing:
        raise _refused(where, f"a part of the weights is missing: {missing[0]}", "copy it there")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _refused(file: str, message: str, hint: str) -> RecipeError:
    return RecipeError([Diagnostic(file=file, line=0, column=0, message=message, hint=hint)])
