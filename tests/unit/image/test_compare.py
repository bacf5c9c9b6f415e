"""Two images compared: by layer, by package, by file; from layouts and archives alike."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from recipec.cli.image_words import SHOWN, lines, to_plain
from recipec.cli.main import main
from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.image.archive import write_archive
from recipec.image.compare import ImageDifference, compare
from recipec.image.image import OCI_LAYER, Descriptor, Layer
from recipec.image.opened import Opened, open_image
from recipec.store import Store, sha256
from tests.support.images import Member, layer_of, make_image, make_layer
from tests.support.small import Small, make_small, wheel

FILES: dict[str, Member] = {"bin/tool": b"t" * 40, "etc/x": b"x", "lib": "usr/lib"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def archive(small: Small, path: Path) -> Path:
    with path.open("wb") as stream:
        write_archive(small.image, small.store, stream, reference="recipec.local/small:latest")
    return path


def without_digests(found: ImageDifference) -> list[str]:
    """The lines, of layers only what comes before their digests."""
    return [line.partition(" sha256:")[0] for line in lines(found)]


def both(folder: Path, store: Store, old: list[Path], new: list[Path]) -> ImageDifference:
    one = make_small(folder / "a", store, wheels=old)
    other = make_small(folder / "b", store, wheels=new)
    return compare(
        open_image(one.layout(folder / "one")), open_image(other.layout(folder / "other"))
    )


def test_a_bumped_package_is_told_with_its_versions_and_files(tmp_path: Path, store: Store) -> None:
    old = wheel(tmp_path, "alpha", "1.0", files={"alpha/a.py": b"1\n" * 9, "alpha/gone.py": b""})
    new = wheel(tmp_path, "alpha", "1.1", files={"alpha/a.py": b"22\n" * 9, "alpha/new.py": b""})
    beside = wheel(tmp_path, "other")
    found = both(tmp_path, store, [old, beside], [new, beside])
    site = "usr/local/lib/python3.11/dist-packages"
    assert without_digests(found) == [
        "layer wheels alpha 1.1:",
        "  package alpha: 1.0 -> 1.1 (files: 5 added, 5 removed, 1 changed)",
        *(
            f"    {site}/alpha-{version}.dist-info/{name}: {what}"
            for version, what in (("1.0", "removed"), ("1.1", "added"))
            for name in ("INSTALLER", "METADATA", "RECORD", "WHEEL")
        ),
        f"    {site}/alpha/a.py: 18 -> 27 bytes",
        f"    {site}/alpha/gone.py: removed",
        f"    {site}/alpha/new.py: added",
    ]


def test_a_package_that_came_and_one_that_went(tmp_path: Path, store: Store) -> None:
    alpha, beta, gamma = (wheel(tmp_path, name) for name in ("alpha", "beta", "gamma"))
    found = both(tmp_path, store, [alpha, beta], [alpha, gamma])
    packages = {p.name: p for change in found.layers for p in change.packages}
    assert {name: (p.before, p.after) for name, p in packages.items()} == {
        "beta": ("1.0", ""),
        "gamma": ("", "1.0"),
    }
    assert all(len(p.files) == 5 for p in packages.values())
    # Their files came or went with them: people are told how many, JSON names each.
    told = [line for line in lines(found) if "package" in line]
    assert told == [
        "  package beta: removed 1.0 (files: 5 removed)",
        "  package gamma: added 1.0 (files: 5 added)",
    ]
    paths = [
        file["path"]
        for change in to_plain(found)["layers"]
        for package in change["packages"]
        for file in package["files"]
    ]
    assert any(path.endswith("gamma/__init__.py") for path in paths)


def test_a_package_that_moved_to_another_layer_did_not_change(tmp_path: Path, store: Store) -> None:
    one = make_small(tmp_path / "a", store)
    other = compare(
        open_image(one.layout(tmp_path / "one")),
        open_image(archive(one, tmp_path / "one.tar")),
    )
    assert other.same
    assert lines(other) == []
    files: list[dict[str, Member]] = [{"a/x": b"x"}, {"b/y": b"y"}]
    split = [make_layer(store, "l", f, kind="wheels") for f in files]
    joint = [make_layer(store, "l", files[0] | files[1], kind="wheels")]
    found = compare(opened(store, split, tmp_path / "s"), opened(store, joint, tmp_path / "j"))
    assert [p for change in found.layers for p in change.packages] == []


def opened(store: Store, layers: list[Layer], folder: Path) -> Opened:
    small = Small(lock=None, image=make_image(store, layers), store=store)  # type: ignore[arg-type]
    return open_image(small.layout(folder))


def test_every_kind_of_change_of_a_file(tmp_path: Path, store: Store) -> None:
    old = make_layer(store, "l", {**FILES, "same": b"s", "gone": b"g"})
    new = make_layer(
        store,
        "l",
        {"bin/tool": b"T" * 40, "etc/x": b"longer", "lib": "usr/lib64", "same": b"s", "new": b""},
        mode=0o700,
    )
    found = compare(opened(store, [old], tmp_path / "a"), opened(store, [new], tmp_path / "b"))
    assert without_digests(found)[1:] == [
        "  bin/tool: mode 755 -> 700, other content in 40 bytes",
        "  etc/x: mode 755 -> 700, 1 -> 6 bytes",
        "  gone: removed",
        "  lib: mode 755 -> 700, link usr/lib -> usr/lib64",
        "  new: added",
        "  same: mode 755 -> 700",
    ]
    turned = make_layer(store, "l", {**FILES, "same": "etc/x", "gone": b"g"})
    found = compare(opened(store, [old], tmp_path / "a"), opened(store, [turned], tmp_path / "c"))
    assert without_digests(found)[1:] == [
        "  same: file -> symlink, 1 -> 0 bytes, link none -> etc/x"
    ]


def test_many_files_are_cut_for_people_only(tmp_path: Path, store: Store) -> None:
    old = make_layer(store, "l", {"a": b""})
    new = make_layer(store, "l", {"a": b"", **{f"f{n:03}": b"" for n in range(SHOWN + 5)}})
    found = compare(opened(store, [old], tmp_path / "a"), opened(store, [new], tmp_path / "b"))
    told = lines(found)
    assert len(told) == 1 + SHOWN + 1
    assert told[-1] == "  ... and 5 more files; --json lists them all"
    (change,) = to_plain(found)["layers"]
    assert len(change["packages"][0]["files"]) == SHOWN + 5


def test_order_and_compression_alone(tmp_path: Path, store: Store) -> None:
    one, two = (make_layer(store, n, {n: b"x"}, kind=n) for n in ("a", "b"))
    forth, back = (
        opened(store, layers, tmp_path / name)
        for name, layers in (("f", [one, two]), ("b", [two, one]))
    )
    assert lines(compare(forth, back)) == ["the layers are the same, in another order"]
    with gzip.open(store.path(one.blob.digest)) as stream:
        tar = stream.read()
    again = layer_of(store, "a", tar, kind="a")
    assert again.blob.digest == one.blob.digest
    packed = gzip.compress(tar, 9, mtime=0)
    denser = Layer(
        kind="a",
        name="a",
        blob=Descriptor(media_type=OCI_LAYER, digest=store.add_bytes(packed), size=len(packed)),
        diff_id=one.diff_id,
        cached=False,
    )
    assert denser.blob.digest != one.blob.digest
    dense = opened(store, [denser, two], tmp_path / "d")
    assert lines(compare(forth, dense)) == ["layers hold the same files, compressed otherwise"]


def test_settings_are_compared_one_by_one(tmp_path: Path, store: Store) -> None:
    layer = make_layer(store, "l", {"a": b""})
    images = []
    for name, environment in (("a", ["A=1", "B=2"]), ("b", ["A=1", "B=3=4", "C="])):
        image = make_image(store, [layer], environment=environment)
        small = Small(lock=None, image=image, store=store)  # type: ignore[arg-type]
        images.append(open_image(small.layout(tmp_path / name)))
    assert lines(compare(*images)) == [
        "config Env.B: 2 -> 3=4",
        "config Env.C: left open -> ",
    ]


def test_an_archive_of_an_older_docker(tmp_path: Path, store: Store) -> None:
    """skopeo's docker-archive has no index: manifest.json, a config and plain tars."""
    small = make_small(tmp_path / "in", store)
    layout, plain = small.layout(tmp_path / "layout"), tmp_path / "plain.tar"
    words = ["skopeo", "--tmpdir", str(tmp_path), "--insecure-policy", "copy", f"oci:{layout}"]
    subprocess.run([*words, f"docker-archive:{plain}"], check=True, capture_output=True)
    with tarfile.open(plain) as tar:
        assert "index.json" not in tar.getnames()
    found = open_image(plain)
    assert [layer.diff_id for layer in found.layers] == [la.diff_id for la in small.image.layers]
    assert compare(open_image(layout), found).same
    assert not found.digest


def test_zstd_layers_are_read(tmp_path: Path, store: Store) -> None:
    try:
        from compression.zstd import compress  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        from backports.zstd import compress
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    packed = compress(raw.getvalue())
    about = Descriptor(media_type=OCI_LAYER, digest=store.add_bytes(packed), size=len(packed))
    zstd = Layer(kind="l", name="l", blob=about, diff_id=sha256(raw.getvalue()), cached=False)
    plain = make_layer(store, "l", {"x": b"", "y": b""})
    found = compare(opened(store, [zstd], tmp_path / "z"), opened(store, [plain], tmp_path / "p"))
    assert without_digests(found)[1:] == ["  x: mode 644 -> 755", "  y: added"]


def test_what_is_no_image(tmp_path: Path, store: Store) -> None:
    packed = tmp_path / "x.tar.gz"
    packed.write_bytes(gzip.compress(b"x" * 2000))
    with pytest.raises(EnvironmentLacks, match="is not an image archive"):
        open_image(packed)
    small = make_small(tmp_path / "in", store)
    layout = small.layout(tmp_path / "layout")
    manifest = layout / "blobs/sha256" / small.image.manifest.digest[7:]
    data = manifest.read_bytes()
    manifest.unlink()  # a hard link of the store's
    manifest.write_bytes(data + b" ")
    with pytest.raises(HashMismatch):
        open_image(layout)
    manifest.unlink()
    with pytest.raises(EnvironmentLacks, match="is not an image that can be read"):
        open_image(layout)


def test_a_digest_that_is_a_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    index = {"manifests": [{"digest": "../../secret"}]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(EnvironmentLacks, match="is no digest"):
        open_image(tmp_path)


def test_the_command_takes_archives_and_layouts(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make_small(tmp_path / "a", store)
    other = make_small(tmp_path / "b", store, script=b"print('other')\n")
    tar, layout = archive(one, tmp_path / "one.tar"), other.layout(tmp_path / "other")
    assert main(["diff", str(tar), str(layout), "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    (change,) = plain["layers"]
    assert (plain["kind"], plain["same"], change["after"]["kind"]) == ("image", False, "recipe")
    (file,) = change["packages"][0]["files"]
    assert file["path"] == "opt/recipec/recipe/train.py"
    assert file["before"]["sha256"] != file["after"]["sha256"]
    assert main(["diff", str(tar), str(tar)]) == 0
    assert capsys.readouterr().out == "the two images say the same\n"


def test_inspect_of_a_layout_and_an_archive(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    small = make_small(tmp_path / "a", store)
    for place in (small.layout(tmp_path / "layout"), archive(small, tmp_path / "one.tar")):
        assert main(["inspect", str(place), "--json"]) == 0
        plain = json.loads(capsys.readouterr().out)
        assert plain["digest"] == small.image.manifest.digest
        assert plain["base"] == "debian:bookworm"
        assert [layer["diff_id"] for layer in plain["layers"]] == [
            layer.diff_id for layer in small.image.layers
        ]
        debs = [(row["type"], row["name"]) for row in plain["layers"][0]["from"]]
        assert debs == [("deb", "gcc-12-base"), ("deb", "libc6"), ("deb", "libgomp1")]
        wheels = [
            row for layer in plain["layers"] for row in layer["from"] if row["type"] == "wheel"
        ]
        assert sorted((row["name"], row["version"]) for row in wheels) == [
            ("alpha", "1.0"),
            ("beta", "2.0+cpu"),
        ]
    assert main(["inspect", str(place), "--files"]) == 0
    out = capsys.readouterr().out
    assert "  deb libc6 1.0\n" in out
    assert "  file opt/recipec/recipe/train.py\n" in out
    assert "alpha 1.0" in out


def test_an_image_of_another_builder_is_shown_too(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    small = Small(
        lock=None,  # type: ignore[arg-type]
        image=make_image(store, [layer_of(store, "l", raw.getvalue())]),
        store=store,
    )
    assert main(["inspect", str(small.layout(tmp_path / "layout"))]) == 0
    assert "1 layers" in capsys.readouterr().out
