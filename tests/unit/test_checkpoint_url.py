"""Copies of checkpoints under a URL: whole or not there, verified when read, pruned, and no harm to the disk when unreachable."""

from __future__ import annotations

import errno
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest

from actors import copies as shell
from actors.copies import Copies
from tori.checkpoint.codec import ModuleSnapshot, SnapshotDamaged
from tori.checkpoint.remote import UrlDisk, UrlStore, UrlUnreachable, shown
from tori.checkpoint.retention import KeepNewestPolicy
from tori.checkpoint.store import CheckpointStore
from tori.errors import BadInput, BadSettings
from tori.events.system import ErrorOccurred


def snapshots(sequence: int) -> dict[str, ModuleSnapshot]:
    return {n: ModuleSnapshot(n, 1, "j", 1, sequence, bytes(3000) + n.encode()) for n in ("reader", "braid")}


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/far" if request.param == "file" else f"memory://{uuid.uuid4().hex}/tori"


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "near")


def test_a_copy_is_read_and_verified_as_on_the_disk(url: str, store: CheckpointStore) -> None:
    manifest = store.save(snapshots(1))
    remote = UrlStore(url)
    assert remote.list() == ()
    remote.put(store, manifest)
    assert UrlStore(url).list() == (manifest.checkpoint_id,)
    assert remote.manifest(manifest.checkpoint_id) == manifest
    assert remote.load(manifest, "braid") == snapshots(1)["braid"]
    assert remote.verify(manifest.checkpoint_id) == ()


def test_a_fetched_checkpoint_is_the_one_that_was_copied(url: str, store: CheckpointStore) -> None:
    manifest = store.save(snapshots(1))
    UrlStore(url).put(store, manifest)
    lost = store.root / manifest.checkpoint_id
    before = {path.name: path.read_bytes() for path in lost.iterdir()}
    store._disk.remove(lost)
    for _ in range(2):
        assert UrlStore(url).fetch(store, manifest.checkpoint_id) == manifest
    assert {path.name: path.read_bytes() for path in lost.iterdir()} == before
    with pytest.raises(BadInput, match="no checkpoint"):
        UrlStore(url).fetch(store, "checkpoint-0")


@pytest.mark.parametrize("file", ["braid.snapshot", "manifest.json"])
def test_one_flipped_bit_is_found_and_nothing_is_fetched(url: str, store: CheckpointStore, file: str) -> None:
    manifest = store.save(snapshots(1))
    remote = UrlStore(url)
    remote.put(store, manifest)
    disk, path = remote._files, remote.root / manifest.checkpoint_id / file
    content = bytearray(disk.read(path))
    content[100] ^= 1
    disk.write(path, bytes(content))
    (problem,) = remote.verify(manifest.checkpoint_id, is_quarantining=True)
    assert problem.path.startswith(url)
    assert disk.exists(path)
    store._disk.remove(store.root / manifest.checkpoint_id)
    with pytest.raises(SnapshotDamaged):
        remote.fetch(store, manifest.checkpoint_id)
    assert store.list() == ()


def test_objects_come_first_and_the_manifest_last(
    url: str, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    upload, write = UrlDisk.upload, UrlDisk.write
    monkeypatch.setattr(UrlDisk, "upload", lambda d, s, t: (steps.append(t.name), upload(d, s, t))[1])
    monkeypatch.setattr(UrlDisk, "write", lambda d, p, c: (steps.append(p.name), write(d, p, c))[1])
    UrlStore(url).put(store, store.save(snapshots(1)))
    assert steps == ["braid.snapshot", "reader.snapshot", "manifest.json"]


def test_retention_and_copies_that_came_to_no_end(
    url: str, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = UrlStore(url, retention=KeepNewestPolicy(2))
    first = store.save(snapshots(1))
    with monkeypatch.context() as patch:
        patch.setattr(UrlDisk, "write", lambda *_: (_ for _ in ()).throw(OSError("cut off")))
        with pytest.raises(UrlUnreachable, match="cut off"):
            remote.put(store, first)
    assert remote.verify(first.checkpoint_id), "half a copy was taken for a whole one"
    others = [store.save(snapshots(n)) for n in (2, 3, 4)]
    for manifest in others:
        remote.put(store, manifest)
        remote.prune()
    assert remote.list() == tuple(m.checkpoint_id for m in reversed(others[1:]))
    assert remote.prune() == ()


class Broken:
    """A driver whose errors are its own."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise RuntimeError("the bucket is on fire")

        return fail


def test_an_unreachable_url_is_a_temporary_error_that_names_it(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manifest = store.save(snapshots(1))
    (tmp_path / "file").write_bytes(b"no directory")
    with pytest.raises(UrlUnreachable, match="cannot be reached"):
        UrlStore(f"file://{tmp_path}/file/far").put(store, manifest)
    remote = UrlStore("memory://fire")
    monkeypatch.setattr(remote._files, "_files", Broken())
    for call in (
        lambda: remote.put(store, manifest),
        remote.prune,
        lambda: remote.fetch(store, manifest.checkpoint_id),
        lambda: remote.verify(manifest.checkpoint_id),
    ):
        with pytest.raises(UrlUnreachable, match=r"memory://fire.*on fire"):
            call()
    for url in ("nonsense-protocol://x", "s3://bucket" if not _has("s3fs") else "nonsense://x"):
        with pytest.raises(BadSettings, match="cannot be used"):
            UrlStore(url)
    assert store.verify(manifest.checkpoint_id) == ()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the bucket is on fire"),
        PermissionError("Access Denied"),
        PermissionError(errno.EACCES, "Permission denied"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"),
        TimeoutError("timed out"),
    ],
)
@pytest.mark.parametrize("file", ["braid.snapshot", "manifest.json"])
def test_what_does_not_answer_is_not_damaged(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, file: str, error: Exception
) -> None:
    manifest = store.save(snapshots(1))
    remote = UrlStore(f"memory://{uuid.uuid4().hex}/tori")
    remote.put(store, manifest)
    cat = remote._files._files.cat_file

    def cut_off(path: str) -> bytes:
        if path.endswith(file):
            raise error
        found: bytes = cat(path)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(remote._files._files, "cat_file", cut_off)
        for is_quarantining in (False, True):
            with pytest.raises(UrlUnreachable, match="cannot be reached"):
                remote.verify(manifest.checkpoint_id, is_quarantining=is_quarantining)
    remote._files.remove(remote.root / manifest.checkpoint_id / file)
    assert len(remote.verify(manifest.checkpoint_id, is_quarantining=True)) == 1, "a file that is gone is told"


def _has(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def test_a_password_in_a_url_is_never_shown() -> None:
    assert shown("s3://key:secret@host/bucket") == "s3://host/bucket"
    with pytest.raises(BadSettings) as found:
        UrlStore("nonsense://key:secret@host/x")
    assert "secret" not in str(found.value)


def test_a_checkpoint_stands_whatever_becomes_of_its_copy(
    url: str, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    manifest = store.save(snapshots(1))
    assert Copies("", 2, store, told.append).copy(manifest) == {}
    found = Copies(url, 2, store, told.append).copy(manifest)
    assert found["copy"]["state"] == "done"
    assert UrlStore(url).list() == (manifest.checkpoint_id,)
    bad = Copies("nonsense://key:secret@host/x", 2, store, told.append).copy(manifest)["copy"]
    assert (bad["state"], "cannot be used" in bad["problem"], "secret" in str(bad)) == ("failed", True, False)
    assert [type(event) for event in told] == [ErrorOccurred]
    monkeypatch.setattr(shell, "PATIENCE_S", 0.0)
    assert Copies(url, 2, store, told.append).copy(manifest)["copy"]["state"] in ("under way", "done")
    assert fsspec.__version__
