"""The content store: bytes under their digest, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec import store as module
from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.store import Store, canonical, digest_of_file, sha256, write_atomically

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def files_of(store: Store) -> list[str]:
    """Every file in the store but records, relative to its root."""
    return sorted(
        path.relative_to(store.root).as_posix()
        for path in store.root.rglob("*")
        if path.is_file() and "records" not in path.parts
    )


# Blobs


def test_bytes_come_back_under_their_digest(store: Store) -> None:
    assert store.add_bytes(b"") == EMPTY
    digest = store.add_bytes(b"some bytes")
    assert digest == "sha256:" + hashlib.sha256(b"some bytes").hexdigest()
    assert store.has(digest)
    assert store.read(digest) == b"some bytes"
    assert store.verified(digest)
    assert store.path(digest) == store.root / "blobs" / "sha256" / digest[7:]
    assert list(store.digests()) == sorted([EMPTY, digest])
    assert files_of(store) == sorted(f"blobs/sha256/{d[7:]}" for d in (EMPTY, digest))


def test_a_blob_is_read_only_whatever_the_umask(store: Store) -> None:
    old = os.umask(0o077)
    try:
        digest = store.add_bytes(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE(store.path(digest).stat().st_mode) == 0o444


def test_a_blob_that_is_there_is_not_written_again(store: Store) -> None:
    digest = store.add_bytes(b"x")
    before = store.path(digest).stat().st_ino
    assert store.add_bytes(b"x") == digest
    assert store.path(digest).stat().st_ino == before


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:zz",
        "md5:" + "0" * 64,
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 65,
        "sha256:../../../" + "0" * 55,
        "sha256:" + "0" * 64 + "\n",
        "0" * 64,
    ],
)
def test_what_is_no_digest_names_no_path(store: Store, digest: str) -> None:
    with pytest.raises(HashMismatch) as caught:
        store.path(digest)
    assert caught.value.message == f"a digest: expected sha256 and 64 hex digits, found {digest}"
    assert caught.value.exit_code == 4


def test_a_file_is_copied_in_and_compared(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "a.whl"
    source.write_bytes(b"a" * (module.CHUNK + 5))
    digest = store.add_file(source)
    assert store.add_file(source, expected=digest) == digest
    with pytest.raises(HashMismatch) as caught:
        store.add_file(source, expected=EMPTY)
    assert caught.value.message == f"a.whl: expected {EMPTY}, found {digest}"
    assert files_of(store) == [f"blobs/sha256/{digest[7:]}"]


def test_a_writer_that_is_left_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.writer() as blob:
            blob.write(b"half")
            raise ZeroDivisionError

    def mismatch() -> None:
        with store.writer() as blob:
            blob.write(b"wrong")
            blob.commit(EMPTY, what="the layer")

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(HashMismatch):
        mismatch()
    with store.writer() as blob:
        blob.write(b"never committed")
    assert files_of(store) == []


def test_a_writer_counts_and_commits_once_all_is_written(store: Store) -> None:
    with store.writer() as blob:
        blob.write(b"ab")
        blob.write(b"cd")
        assert list(store.digests()) == []
        digest = blob.commit(sha256(b"abcd"))
    assert blob.size == 4
    assert store.read(digest) == b"abcd"


def test_files_of_others_among_the_blobs_are_passed_over(store: Store) -> None:
    digest = store.add_bytes(b"x")
    for name in (".DS_Store", "blob-abc", "A" * 64, digest[7:] + ".tmp"):
        (store.path(digest).parent / name).write_text("")
    assert list(store.digests()) == [digest]


def test_changed_bytes_are_noticed(store: Store) -> None:
    digest = store.add_bytes(b"good")
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(b"evil")
    assert not store.verified(digest)


def test_the_root_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECIPEC_CACHE", "here/it")
    assert Store().root == tmp_path / "here" / "it"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RECIPEC_CACHE", "~/c")
    assert Store().root == tmp_path / "home" / "c"
    monkeypatch.setenv("RECIPEC_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Store().root == tmp_path / "xdg" / "recipec"
    assert not (tmp_path / "xdg").exists()  # asking makes nothing


def test_scratch_is_inside_the_store_and_gone_afterwards(store: Store) -> None:
    with store.scratch() as folder:
        assert folder.is_relative_to(store.root / "tmp")
        (folder / "a").write_text("x")
    assert not folder.exists()


# Records


def test_a_record_comes_back(store: Store) -> None:
    assert store.record("kind", "key") is None
    values: list[object] = [{"b": [1, 2.5, None, "ä"], "a": {}}, [], 0, False, ""]
    for value in values:
        store.put_record("kind", "key", value)
        assert store.record("kind", "key") == value
    assert store.record("other", "key") is None


@pytest.mark.parametrize(
    "key", ["a", EMPTY, "/abs/path", "../../x", "a b", "ä", "", "\0", "x" * 99]
)
def test_a_record_stays_in_its_folder(store: Store, key: str) -> None:
    store.put_record("kind", key, 1)
    assert store.record("kind", key) == 1
    found = [path for path in store.root.rglob("*") if path.is_file()]
    assert [path.parent for path in found] == [store.root / "records" / "kind"]


@pytest.mark.parametrize("torn", [b"", b"{", b'{"a": ', b"\xff\xfe", b"not json", b"\0\0\0"])
def test_a_torn_record_counts_as_none(store: Store, torn: bytes) -> None:
    store.put_record("kind", "key", {"a": 1})
    (path,) = (store.root / "records" / "kind").iterdir()
    path.write_bytes(torn)
    assert store.record("kind", "key") is None
    store.put_record("kind", "key", {"a": 2})
    assert store.record("kind", "key") == {"a": 2}


def test_a_record_that_is_a_folder_counts_as_none(store: Store) -> None:
    (store.root / "records" / "kind" / "key.record").mkdir(parents=True)
    assert store.record("kind", "key") is None


# Digests of files outside


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once, so that what is remembered can be seen without waiting."""
    monkeypatch.setattr(module, "SETTLED", -1)


def remembered(store: Store, source: Path) -> object:
    return store.record("files", str(source.absolute()))


@pytest.mark.usefixtures("settled")
def test_a_digest_is_remembered_and_then_not_read_again(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    source.write_bytes(b"one")
    assert store.digest_of(source) == sha256(b"one")
    record = remembered(store, source)
    assert isinstance(record, dict)
    store.put_record("files", str(source), {**record, "digest": EMPTY})
    assert store.digest_of(source) == EMPTY  # from the record: the file was not read


@pytest.mark.usefixtures("settled")
def test_an_edit_is_seen_even_when_its_mtime_is_put_back(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    source.write_bytes(b"one")
    about = source.stat()
    store.digest_of(source)
    time.sleep(0.02)  # a tick of the coarsest clock that Linux stamps files with
    source.write_bytes(b"two")
    os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert source.stat().st_mtime_ns == about.st_mtime_ns
    assert store.digest_of(source) == sha256(b"two")


@pytest.mark.usefixtures("settled")
def test_another_file_in_its_place_is_seen(store: Store, tmp_path: Path) -> None:
    source, other = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"one")
    other.write_bytes(b"two")
    about = source.stat()
    store.digest_of(source)
    other.replace(source)
    os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert store.digest_of(source) == sha256(b"two")


def test_a_file_that_changed_just_now_is_not_trusted_yet(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    source.write_bytes(b"one")
    assert store.digest_of(source) == sha256(b"one")
    assert remembered(store, source) is None
    source.write_bytes(b"two")  # perhaps within the same tick
    assert store.digest_of(source) == sha256(b"two")


# Canonical JSON


def test_canonical_json_is_one_text() -> None:
    assert canonical({"b": 1, "a": [True, None, 1.5, "ä\n"]}) == (
        b'{"a":[true,null,1.5,"\\u00e4\\n"],"b":1}'
    )
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    for bad in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            canonical({"a": bad})


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_plain)
def test_canonical_json_is_ascii_json_and_stable(value: object) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text
    assert text.isascii()
    assert b"\n" not in text


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


# Writing when things go wrong


def test_a_file_is_replaced_in_one_step_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.json"
    old = os.umask(0o077)
    try:
        write_atomically(target, b"one")
        write_atomically(target, b"two", mode=0o755)
    finally:
        os.umask(old)
    assert target.read_bytes() == b"two"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert [path.name for path in target.parent.iterdir()] == ["a.json"]


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process, so that its limits and its death are not ours."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except EnvironmentLacks:
            code = 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def limited() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_disk_that_takes_no_more_leaves_no_blob(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "lock.json"
    target.write_bytes(b"old")

    def add() -> None:
        limited()
        store.add_bytes(b"x" * 100_000)

    def replace() -> None:
        limited()
        write_atomically(target, b"x" * 100_000)

    assert in_child(add) == 3
    assert in_child(replace) == 3
    assert files_of(store) == []
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["lock.json"]


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    """On a real file system of 64 KB, mounted in a namespace of the child's own."""
    script = """
import sys
from pathlib import Path
from recipec.errors import EnvironmentLacks
from recipec.store import Store
root = Path(sys.argv[1])
store = Store(root)
small = store.add_bytes(b"fits")
try:
    store.add_bytes(b"x" * 200_000)
except EnvironmentLacks as error:
    print(error.render())
print(sorted(p.name for p in root.rglob("*") if p.is_file()) == [small[7:]])
print(store.read(small) == b"fits")
"""
    (tmp_path / "full").mkdir()
    command = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-ec",
            command,
            "sh",
            str(tmp_path / "full"),
            sys.executable,
            script,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == (
        f"error: the disk is full: {tmp_path / 'full'}\n"
        "  hint: free some space, run `recipec cache gc`, or point RECIPEC_CACHE at another disk\n"
        "True\nTrue\n"
    ), done.stderr


def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentLacks) as caught:
        Store(tmp_path / "file").add_bytes(b"x")
    assert caught.value.render() == (
        f"error: cannot write to {tmp_path}/file/tmp: Not a directory\n"
        "  hint: check the folder's owner and mode, or point RECIPEC_CACHE elsewhere"
    )


def test_a_killed_writer_leaves_no_blob(store: Store) -> None:
    """kill -9 at many moments: each time the blob is whole or not there."""
    data = b"y" * (8 << 20)
    digest = sha256(data)
    script = (
        "import sys; from pathlib import Path; from recipec.store import Store\n"
        "store = Store(Path(sys.argv[1])); print('go', flush=True)\n"
        "while True:\n"
        "    with store.writer() as blob:\n"
        "        for _ in range(8): blob.write(b'y' * (1 << 20))\n"
        "        blob.commit()\n"
    )
    for delay in (0.0, 0.003, 0.01, 0.03):
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(store.root)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        child.kill()
        child.wait()
        child.stdout.close()
        assert set(store.digests()) <= {digest}
        assert all(store.verified(found) for found in store.digests())
    assert store.add_bytes(data) == digest


def test_many_processes_write_the_same_blobs_and_records(store: Store) -> None:
    script = (
        "import sys; from pathlib import Path; from recipec.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for number in range(60):\n"
        "    digest = store.add_bytes(b'%d' % number * 5000)\n"
        "    assert store.verified(digest)\n"
        "    store.put_record('kind', 'shared', {'number': number, 'pad': 'x' * 5000})\n"
        "    found = store.record('kind', 'shared')\n"
        "    assert found is not None and len(found['pad']) == 5000\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, str(store.root)]) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert set(store.digests()) == {sha256(b"%d" % number * 5000) for number in range(60)}
    assert all(store.verified(digest) for digest in store.digests())
    assert all(name.startswith("blobs/") for name in files_of(store))


@given(st.binary(max_size=3000))
def test_a_file_and_its_bytes_have_one_digest(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        assert digest_of_file(Path(file.name)) == sha256(data)
