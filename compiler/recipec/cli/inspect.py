"""`recipec inspect WHAT`: what an image's layers hold and where they came from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from recipec.cli.common import add_build_options
from recipec.cli.compile import compile_recipe
from recipec.cli.console import print_json, quiet_or_bars, size, table
from recipec.cli.images import Named, named, open_named, open_remote
from recipec.cli.origins import (
    Row,
    from_history,
    from_layers,
    from_lock,
    from_sbom,
)
from recipec.cli.project import find_project
from recipec.errors import OK, UsageError
from recipec.store import Store

if TYPE_CHECKING:
    from recipec.image.opened import Opened

_LISTED = 6
"""Names that a table cell holds; --json and --files have them all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "what",
        metavar="IMAGE",
        help="a recipe, an archive, an OCI layout or build folder, or"
        " registry.example/team/name[:tag] or @digest, of which no layer is pulled",
    )
    parser.add_argument(
        "--files", action="store_true", help="list every package and file under its layer"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    add_build_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print what is known of the image without unpacking it."""
    what = named(options.what)
    if what.kind == "lock":
        raise UsageError(
            f"{what.text} is a lock, which is to be read as it is",
            hint="name the recipe, or `recipec diff` two locks",
        )
    plain = _looked_at(what, options)
    if options.json:
        print_json(plain)
    else:
        print(_text(plain, files=options.files))
    return OK


def _looked_at(what: Named, options: argparse.Namespace) -> dict[str, Any]:
    if what.kind == "recipe":
        return _of_recipe(what, options)
    if what.kind == "registry":
        if options.files:
            raise UsageError(
                "--files reads the layers, and those of a registry are not pulled",
                hint="leave it out, or inspect the layout or archive of the image",
            )
        return _of_registry(what.text)
    image = open_named(what, Store())
    return _plain(image, from_layers(image, every=options.files))


def _of_recipe(what: Named, options: argparse.Namespace) -> dict[str, Any]:
    """The image that the recipe gives, built if need be; inputs are told from the lock."""
    from recipec.cli.compile import read_lock
    from recipec.image.opened import open_image
    from recipec.image.variant import root_digests

    project, store = find_project(what.path, options.output), Store()
    with quiet_or_bars(options.json) as bars:
        built = compile_recipe(project, store=store, progress=bars, jobs=options.jobs)
    image = open_image(built.folder / "image")
    lock = read_lock(project)
    assert lock is not None, project.lock  # a compile writes it
    made = built.image
    pair = (made.manifest.digest, made.schema2.digest)
    root = root_digests(made.config.digest, pair, store)
    inputs = from_layers(image, every=True) if options.files else from_lock(image, lock)
    return {
        **_plain(image, inputs),
        "schema2": made.schema2.digest,
        "as_root": root[0],
        "as_root_schema2": root[1],
        "run_id": built.run_id,
        "recipe": project.shown(project.recipe),
    }


def _of_registry(reference: str) -> dict[str, Any]:
    """An image in a registry; an attached bill of materials tells what the history does not."""
    from recipec.evidence import sbom
    from recipec.publish.referrers import document, referrers
    from recipec.publish.remote import as_object, rows_of
    from recipec.publish.signatures import tag_of

    image, remote = open_remote(reference)
    attached = referrers(remote, image.digest)
    bill = next((row for row in attached if row.artifact_type == sbom.MEDIA_TYPE), None)
    inputs = from_history(image)
    if bill is not None:
        inputs = from_sbom(image, as_object(document(remote, bill), bill.manifest.digest))
    signed = remote.manifest(tag_of(image.digest))
    return {
        **_plain(image, inputs),
        "evidence": [
            {"type": row.artifact_type, "digest": row.manifest.digest} for row in attached
        ],
        "signatures": len(rows_of(signed.plain, "layers")) if signed is not None else 0,
    }


def _plain(image: Opened, inputs: dict[str, list[Row]]) -> dict[str, Any]:
    settings = image.config.get("config") or {}
    labels = settings.get("Labels") or {}
    return {
        "image": image.label,
        "digest": image.digest or None,
        "media_type": image.media_type,
        "config": image.config_digest,
        "platform": f"{image.config.get('os', '')}/{image.config.get('architecture', '')}",
        "base": labels.get("org.opencontainers.image.base.name"),
        "labels": labels,
        "entrypoint": [*(settings.get("Entrypoint") or []), *(settings.get("Cmd") or [])],
        "user": settings.get("User") or "root",
        **_variant(image),
        "size": sum(layer.size for layer in image.layers),
        "layers": [
            {
                "kind": layer.origin.kind,
                "name": layer.origin.name,
                "digest": layer.digest,
                "diff_id": layer.diff_id,
                "size": layer.size,
                "from": [row.to_plain() for row in inputs.get(layer.diff_id, [])],
            }
            for layer in image.layers
        ],
    }


def _variant(image: Opened) -> dict[str, str]:
    """Of an image that `push --user root` has made: the config of the one that it stands for."""
    from recipec.image.variant import original_of

    original = original_of(image.config, image.config_digest)
    ours = all(layer.origin.kind for layer in image.layers)
    return {"variant_of": original} if original and ours else {}


def _text(plain: dict[str, Any], *, files: bool) -> str:
    keys = (
        "image",
        "digest",
        "schema2",
        "as_root",
        "as_root_schema2",
        "config",
        "run_id",
        "platform",
        "base",
        "user",
        "variant_of",
    )
    facts = [[key.replace("_", " "), str(plain[key])] for key in keys if plain.get(key)]
    facts.append(["entrypoint", " ".join(plain["entrypoint"])])
    facts += [[name, str(value)] for name, value in sorted(plain["labels"].items())]
    facts += [["attached", f"{row['type']} {row['digest']}"] for row in plain.get("evidence", [])]
    if "signatures" in plain:
        facts.append(["signatures", str(plain["signatures"])])
    rows = [
        [
            layer["kind"] or "-",
            size(layer["size"]),
            layer["digest"][:19],
            layer["diff_id"][:19],
            _cell(layer),
        ]
        for layer in plain["layers"]
    ]
    parts = [table("", facts)]
    if rows:
        title = f"{len(rows)} layers, {size(plain['size'])}"
        parts.append(table(title, rows, head=("kind", "size", "digest", "diff_id", "from")))
    if files:
        parts += [_listing(layer) for layer in plain["layers"]]
    return "\n\n".join(parts)


def _cell(layer: dict[str, Any]) -> str:
    """Where a layer came from, in a few names."""
    if layer["kind"] not in ("wheel", "wheels"):
        return str(layer["name"])
    names = layer["name"].split(", ")
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _listing(layer: dict[str, Any]) -> str:
    lines = [f"{layer['kind'] or '-'} {layer['digest']}"]
    for row in layer["from"]:
        said = " ".join(str(row[key]) for key in ("name", "version") if row.get(key))
        lines.append(f"  {row['type']} {said}")
    return "\n".join(lines)
