"""The model to tune: which of its files count, what its config says, where they come from.

In: the recipe's `architecture.model`. Out: the pinned model, its facts, and its files by digest.
Weights are safetensors or a GGUF file. A pickle can run code when it is opened, so it is taken only
where the recipe allows it, and then only where there is nothing better; a model that brings its own
code is never taken. The family is read from config.json, never from a name.
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
from recipec.pins.lockfile import GGUF, Model, ModelFile
from recipec.pins.tokenizer import check_tokenizer
from recipec.store import Store

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".npz")
_KEPT = (".json", ".txt", ".model", ".jinja")
_KEPT_NAMES = ("LICENSE", "NOTICE", "COPYING")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_INDEX = "model.safetensors.index.json"
_PICKLE = "pytorch_model.bin"
_PICKLE_SHARD = re.compile(r"pytorch_model-\d{5}-of-\d{5}\.bin")
_PICKLE_INDEX = "pytorch_model.bin.index.json"
ALLOW_PICKLE = "pickle"
"""The word of `architecture.allow` by which pickled weights are taken."""


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
    chats: bool = True
    """Whether its tokenizer has a chat template; True where only the run can tell (GGUF)."""


@dataclass(frozen=True, kw_only=True)
class PinnedModel:
    """A model by hash, its facts, and where each of its files lies."""

    model: Model
    facts: ModelFacts
    sources: Mapping[str, Path]


def read_folder(
    source: str, *, project: Path, store: Store, allow: Collection[str] = ()
) -> PinnedModel:
    """Pin `path:DIR` or `path:FILE.gguf`.

    `allow` are the risks that the recipe takes. Raises RecipeError when there is no model that we
    may open.
    """
    name = source.removeprefix("path:").rstrip("/")
    if name.endswith(".gguf"):
        return _read_gguf(source, name, project=project, store=store)
    folder = project / name
    try:
        present = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise _not_there(name, error) from error
    pickles = [file for file in present if file.endswith(_PICKLES)]
    if pickles and ALLOW_PICKLE not in allow:
        raise _refused(
            f"{name}/{pickles[0]}",
            "pickled weights are refused: opening them can run code",
            "save the model with `save_pretrained(..., safe_serialization=True)` and remove"
            " this file, or take the risk by `architecture.allow: [pickle]`",
        )
    files, sources = [], {}
    for file in select(present, where=name, allow=allow):
        path = folder / file
        digest = store.digest_of(path)
        files.append(ModelFile(path=file, sha256=digest, size=path.stat().st_size))
        sources[digest] = path
    license = license_of_card(_text(folder / "README.md")) if "README.md" in present else None
    return pinned(source, tuple(files), sources, license=license, commit=None, where=name)


def _read_gguf(source: str, name: str, *, project: Path, store: Store) -> PinnedModel:
    path = project / name
    try:
        digest, size = store.digest_of(path), path.stat().st_size
    except OSError as error:
        raise _not_there(name, error) from error
    from recipec.pins import gguf

    license = gguf.read_header(path, where=name).license
    files = (ModelFile(path=GGUF, sha256=digest, size=size),)
    return pinned(source, files, {digest: path}, license=license, commit=None, where=name)


def place_in_project(source: str, file: str) -> str:
    """Where a file of a model from `path:` lies, relative to the project."""
    name = source.removeprefix("path:").rstrip("/")
    return name if name.endswith(".gguf") else f"{name}/{file}"


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
    digests = {file.path: file.sha256 for file in files}

    def read(path: str) -> bytes | None:
        return sources[digests[path]].read_bytes() if path in digests else None

    if GGUF in digests:
        from recipec.pins import gguf

        header = gguf.read_header(sources[digests[GGUF]], where=where)
        config = gguf.config_of(header, where=where)
    else:
        config = judge(read, digests, where=where)
    facts = ModelFacts(
        config=config,
        model_type=config["model_type"],
        family=family_of(config, where=where),
        files=files,
        license=license,
        commit=commit,
        chats=GGUF in digests or has_chat_template(read),
    )
    model = Model(source=source, commit=commit, license=license, files=files)
    return PinnedModel(model=model, facts=facts, sources=sources)


def judge(
    read: Callable[[str], bytes | None], names: Collection[str], *, where: str
) -> dict[str, Any]:
    """config.json, when nothing in the model's small files speaks against it.

    `read` need not have the weights themselves. Raises RecipeError.
    """
    config = read_config(read, where=where)
    for index in (_INDEX, _PICKLE_INDEX):
        _check_shards(read, index, set(names), where=where)
    check_tokenizer(read, names, config, where=where)
    return config


def has_chat_template(read: Callable[[str], bytes | None]) -> bool:
    """Whether one of the files in which transformers looks for a chat template holds one."""
    if read("chat_template.jinja") is not None or read("chat_template.json") is not None:
        return True
    return bool(json.loads(read("tokenizer_config.json") or b"{}").get("chat_template"))


def is_weights(name: str) -> bool:
    """Whether the file holds the weights: large, and in no way needed to judge the model."""
    return name.endswith((".safetensors", *_PICKLES))


def refuse_pickles(files: Collection[ModelFile], allow: Collection[str], *, where: str) -> None:
    """Raise RecipeError for pins that were made when the recipe still allowed pickles."""
    pickled = sorted(file.path for file in files if file.path.endswith(_PICKLES))
    if pickled and ALLOW_PICKLE not in allow:
        raise _only_pickles(where)


def select(names: Collection[str], *, where: str, allow: Collection[str] = ()) -> tuple[str, ...]:
    """The files of a model's folder that its image gets, sorted: weights, config, tokenizer."""
    if "config.json" not in names:
        found = sorted(name for name in names if name.endswith(".gguf"))
        raise _refused(
            where,
            "the model has no config.json",
            f"for a GGUF file name the file itself, such as {where}/{found[0]}"
            if found
            else "a model folder is what `save_pretrained` writes: config.json, model.safetensors"
            " and the tokenizer's files",
        )
    weights, index = _weights(names, allow)
    if not weights:
        if any(name.endswith(_PICKLES) for name in names):
            raise _only_pickles(where)
        raise _refused(
            where,
            "the model has no weights",
            f"it needs model.safetensors, or {_INDEX} and its shards",
        )
    kept = {
        name
        for name in names
        if not name.startswith(".")
        and "/" not in name
        and not name.endswith(".index.json")
        and (name.endswith(_KEPT) or name.startswith(_KEPT_NAMES))
    }
    return tuple(sorted({*kept, *weights, *index}))


def _weights(names: Collection[str], allow: Collection[str]) -> tuple[set[str], set[str]]:
    """The files with the weights, in the best form that there is, and their index if they have one.

    transformers looks for them in the same order.
    """
    forms = [("model.safetensors", _INDEX, _SHARD)]
    if ALLOW_PICKLE in allow:
        forms.append((_PICKLE, _PICKLE_INDEX, _PICKLE_SHARD))
    for whole, index, shard in forms:
        if whole in names:
            return {whole}, set()
        shards = {name for name in names if shard.fullmatch(name)}
        if index in names and shards:
            return shards, {index}
    return set(), set()


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


def _check_shards(
    read: Callable[[str], bytes | None], name: str, names: set[str], *, where: str
) -> None:
    index = read(name)
    if index is None:
        return
    try:
        wanted = set(json.loads(index)["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _refused(f"{where}/{name}", "it has no `weight_map`", "save it anew") from error
    missing = sorted(str(shard) for shard in wanted - names)
    if missing:
        raise _refused(where, f"a part of the weights is missing: {missing[0]}", "copy it there")


def _only_pickles(where: str) -> RecipeError:
    return _refused(
        where,
        "the model has pickled weights only",
        f"it needs model.safetensors, or {_INDEX} and its shards; `architecture.allow: [pickle]`"
        " takes pickled weights, which can run code when they are opened",
    )


def _not_there(name: str, error: OSError) -> RecipeError:
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
    kind = "file" if name.endswith(".gguf") else "folder"
    return _refused(
        name,
        f"no such {kind}" if missing else f"cannot be read: {error.strerror or error}",
        "`architecture.model` names a folder relative to the project, such as path:models/tiny-t5",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _refused(file: str, message: str, hint: str) -> RecipeError:
    return RecipeError([Diagnostic(file=file, line=0, column=0, message=message, hint=hint)])
