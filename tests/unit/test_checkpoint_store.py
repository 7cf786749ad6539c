"""The checkpoint store: what was saved comes back or is named as damaged; no fault leaves half a checkpoint."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import msgspec
import pytest

from tests.support.volatile_disk import PowerCut, VolatileDisk
from tori.checkpoint import report
from tori.checkpoint.codec import MAGIC, ModuleSnapshot, SnapshotDamaged, decode_snapshot, encode_snapshot
from tori.checkpoint.disk import LocalDisk
from tori.checkpoint.manifest import Manifest, Part, check_name, decode_manifest, encode_manifest
from tori.checkpoint.retention import Holding, KeepNewestPolicy
from tori.checkpoint.store import CheckpointNotWritten, CheckpointStore
from tori.clock import VirtualClock
from tori.errors import BadInput, BadSettings, TemporaryError

ROOT = Path("/disk/checkpoints")


def snapshot(module: str = "reader", number: int = 1, data: bytes = b"state") -> ModuleSnapshot:
    return ModuleSnapshot(module, 2, "journal-7f", 3, number, data + str(number).encode())


def both(number: int) -> dict[str, ModuleSnapshot]:
    return {name: snapshot(name, number) for name in ("reader", "alien")}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def disk() -> VolatileDisk:
    disk = VolatileDisk()
    disk.make_directory(ROOT.parent)
    disk.sync_directory(Path("/"))
    disk.steps = 0
    return disk


@pytest.fixture
def store(disk: VolatileDisk, clock: VirtualClock) -> CheckpointStore:
    return CheckpointStore(ROOT, clock=clock, disk=disk)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "a" / "checkpoints")
    manifest = store.save(both(1))
    assert store.newest("reader") == (snapshot("reader", 1), ())
    assert store.newest("braid") == (None, ())
    assert store.verify(manifest.checkpoint_id) == ()
    assert sorted(p.name for p in (store.root / manifest.checkpoint_id).iterdir()) == [
        "alien.snapshot",
        "manifest.json",
        "reader.snapshot",
    ]
    found, loaded, _ = store.find("alien")
    assert found == manifest
    assert loaded == snapshot("alien", 1)


def test_the_manifest_is_readable_by_people_and_programs(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    manifest = store.save(both(1))
    text = json.loads((tmp_path / manifest.checkpoint_id / "manifest.json").read_text())
    assert text["manifest"]["modules"]["reader"]["sequence"] == 1
    assert text["sha256"] == manifest.digest


def test_ids_sort_by_time_even_when_the_clock_goes_back(store: CheckpointStore, clock: VirtualClock) -> None:
    ids = [store.save(both(n)).checkpoint_id for n in range(3)]
    clock.jump_wall(-86400)
    ids.append(store.save(both(3)).checkpoint_id)
    assert store.list() == tuple(reversed(ids))
    assert store.newest("reader")[0] == snapshot("reader", 3)


def test_each_module_may_be_saved_alone(store: CheckpointStore) -> None:
    store.save(both(1))
    store.save({"alien": snapshot("alien", 2)})
    assert store.newest("reader") == (snapshot("reader", 1), ())
    assert store.newest("alien") == (snapshot("alien", 2), ())


def test_a_corrupt_snapshot_is_quarantined_named_and_the_one_before_is_used(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(both(1))
    bad = store.save(both(2)).checkpoint_id
    file = tmp_path / bad / "reader.snapshot"
    file.write_bytes(file.read_bytes().replace(b"state2", b"staTe2"))
    [problem] = store.verify(bad)
    assert (problem.module, problem.path) == ("reader", str(file)), "verify moves nothing"
    found, [problem] = store.newest("reader")
    assert found == snapshot("reader", 1)
    assert problem.checkpoint_id == bad
    assert "sha256" in problem.reason
    assert Path(problem.path) == tmp_path / "quarantine" / f"{bad}.reader.snapshot"
    assert b"staTe2" in Path(problem.path).read_bytes()
    assert json.loads(Path(problem.path + ".reason.json").read_text())["reason"] == problem.reason
    assert store.newest("reader") == (snapshot("reader", 1), ()), "reported once"
    assert store.newest("alien") == (snapshot("alien", 2), ()), "the rest of the checkpoint is as good as it was"
    assert [p.module for p in store.verify(bad)] == ["reader"]


def test_a_corrupt_manifest_takes_its_checkpoint_along(store: CheckpointStore, disk: VolatileDisk) -> None:
    store.save(both(1))
    bad = store.save(both(2)).checkpoint_id
    disk.flip(ROOT / bad / "manifest.json", 20, 1)
    assert [p.module for p in store.verify(bad)] == [""]
    found, [problem] = store.newest("reader")
    assert found == snapshot("reader", 1)
    assert problem.path == str(ROOT / "quarantine" / bad)
    assert bad not in store.list()
    assert store.newest("alien") == (snapshot("alien", 1), ())


def test_a_snapshot_that_vanished_is_a_problem_once(store: CheckpointStore, disk: VolatileDisk) -> None:
    bad = store.save(both(1)).checkpoint_id
    disk.remove(ROOT / bad / "reader.snapshot")
    found, [problem] = store.newest("reader")
    assert found is None
    assert "cannot be read" in problem.reason
    assert store.newest("reader") == (None, ())


def test_when_nothing_is_good_everything_is_named(store: CheckpointStore, disk: VolatileDisk) -> None:
    ids = [store.save(both(n)).checkpoint_id for n in range(3)]
    for checkpoint_id in ids:
        disk.flip(ROOT / checkpoint_id / "reader.snapshot", 30, 8)
    found, problems = store.newest("reader")
    assert found is None
    assert [p.checkpoint_id for p in problems] == ids[::-1]


def test_a_disk_that_refuses_the_quarantine_does_not_hide_the_older_one(
    store: CheckpointStore, disk: VolatileDisk
) -> None:
    store.save(both(1))
    bad = store.save(both(2)).checkpoint_id
    disk.flip(ROOT / bad / "reader.snapshot", 30, 8)
    disk.fail = lambda step, operation: OSError(errno.EROFS, os.strerror(errno.EROFS))
    for _ in range(2):
        found, [problem] = store.newest("reader")
        assert found == snapshot("reader", 1)
        assert problem.path == str(ROOT / bad / "reader.snapshot")


def test_a_disk_that_cannot_read_just_now_loses_nothing(
    store: CheckpointStore, disk: VolatileDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(both(1))
    newest = store.save(both(2)).checkpoint_id
    read, bad = disk.read, {"name": ""}

    def fails(path: Path) -> bytes:
        if newest in path.parts and path.name == bad["name"]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    monkeypatch.setattr(disk, "read", fails)
    for bad["name"] in ("reader.snapshot", "manifest.json"):
        found, [problem] = store.newest("reader")
        assert found == snapshot("reader", 1)
        assert "Input/output error" in problem.reason
        assert "quarantine" not in problem.path
    monkeypatch.undo()
    assert store.newest("reader") == (snapshot("reader", 2), ())


def test_the_local_disk_removes_files_and_folders(tmp_path: Path) -> None:
    disk = LocalDisk()
    disk.make_directory(tmp_path / "a" / "b")
    disk.write(tmp_path / "a" / "b" / "c", b"1")
    disk.write(tmp_path / "d", b"2")
    for name in ("a", "d", "d"):
        disk.remove(tmp_path / name)
    assert disk.names(tmp_path) == []
    assert disk.names(tmp_path / "nowhere") == []


def test_a_swapped_file_is_found(store: CheckpointStore, disk: VolatileDisk) -> None:
    first, second = (store.save(both(n)).checkpoint_id for n in (1, 2))
    disk.replace(ROOT / second / "manifest.json", disk.read(ROOT / first / "manifest.json"))
    assert "is that of" in store.verify(second)[0].reason
    manifest = store.manifest(first)
    content = disk.read(ROOT / first / "alien.snapshot")
    part = msgspec.structs.replace(manifest.modules["alien"], file="reader.snapshot")
    disk.replace(ROOT / first / "reader.snapshot", content)
    with pytest.raises(SnapshotDamaged, match="not the one"):
        store.load(msgspec.structs.replace(manifest, modules={"reader": part}), "reader")


# -- exhaustive: flips and truncations --------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["reader.snapshot", "manifest.json"])
def test_every_flip_of_every_bit_is_found(store: CheckpointStore, disk: VolatileDisk, file: str) -> None:
    checkpoint_id = store.save({"reader": snapshot()}).checkpoint_id
    path = ROOT / checkpoint_id / file
    for offset in range(len(disk.read(path))):
        for bit in range(8):
            disk.flip(path, offset, 1 << bit)
            assert store.verify(checkpoint_id), f"bit {bit} of byte {offset}"
            disk.flip(path, offset, 1 << bit)
    assert store.verify(checkpoint_id) == ()


def test_every_other_value_of_every_byte_of_a_snapshot_is_refused_by_its_own_file() -> None:
    content = encode_snapshot(snapshot())
    for offset in range(len(content)):
        for mask in range(1, 256):
            changed = bytearray(content)
            changed[offset] ^= mask
            with pytest.raises(SnapshotDamaged):
                decode_snapshot(bytes(changed))


@pytest.mark.parametrize("file", ["reader.snapshot", "manifest.json"])
def test_every_truncation_and_a_longer_file_are_found(store: CheckpointStore, disk: VolatileDisk, file: str) -> None:
    checkpoint_id = store.save({"reader": snapshot()}).checkpoint_id
    path = ROOT / checkpoint_id / file
    content = disk.read(path)
    for length in range(len(content)):
        disk.replace(path, content[:length])
        assert store.verify(checkpoint_id), length
    disk.replace(path, content + b"\n")
    assert store.verify(checkpoint_id)


def test_a_file_alone_says_what_is_wrong_with_it() -> None:
    content = encode_snapshot(snapshot())
    assert decode_snapshot(content) == snapshot()
    for length in range(len(content)):
        with pytest.raises(SnapshotDamaged):
            decode_snapshot(content[:length])
    with pytest.raises(SnapshotDamaged, match="does not begin"):
        decode_snapshot(b"PK" + content[2:])


@pytest.mark.parametrize(
    ("header", "message"),
    [(b"\xc1", "does not decode"), (msgspec.msgpack.encode(["reader", 2, "j", 3, 1, 99]), "promises 99 bytes")],
)
def test_a_header_that_lies_is_refused_even_under_a_good_digest(header: bytes, message: str) -> None:
    import hashlib

    body = MAGIC + len(header).to_bytes(4, "big") + header + b"state1"
    with pytest.raises(SnapshotDamaged, match=message):
        decode_snapshot(body + hashlib.sha256(body).digest())


# -- crashes and full disks -------------------------------------------------------------------------------------------


def steps_of_save() -> int:
    disk = VolatileDisk()
    disk.make_directory(ROOT.parent)
    store = CheckpointStore(ROOT, disk=disk)
    store.save(both(1))
    before = disk.steps
    store.save(both(2))
    return disk.steps - before


STEPS = steps_of_save()


@pytest.mark.parametrize("survives", [True, False], ids=["all-reached-the-disk", "only-what-was-synced"])
@pytest.mark.parametrize("torn", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("step", range(1, STEPS + 2))
def test_a_crash_between_any_two_steps_leaves_a_usable_checkpoint(step: int, torn: float, survives: bool) -> None:
    disk = VolatileDisk(torn)
    disk.make_directory(ROOT.parent)
    disk.sync_directory(Path("/"))
    store = CheckpointStore(ROOT, disk=disk)
    store.save(both(1))
    begin = disk.steps
    disk.fail = lambda at, operation: PowerCut() if at - begin == step else None
    if step <= STEPS:
        with pytest.raises(PowerCut):
            store.save(both(2))
    else:
        store.save(both(2))
    disk.crash(lambda: survives)
    again = CheckpointStore(ROOT, disk=disk)
    again.sweep()
    numbers = {module: again.newest(module) for module in ("reader", "alien")}
    found = [s.sequence for s, problems in numbers.values() if s is not None and not problems]
    assert found in ([1, 1], [2, 2]), "both modules, both from the same checkpoint, nothing damaged"
    if step > STEPS:
        assert found == [2, 2], "what was acknowledged is there"
    assert not [name for name in disk.names(ROOT) if name.startswith(".")]


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_full_disk_leaves_no_half_checkpoint(step: int) -> None:
    disk = VolatileDisk()
    disk.make_directory(ROOT.parent)
    store = CheckpointStore(ROOT, disk=disk)
    store.save(both(1))
    begin = disk.steps
    disk.fail = lambda at, operation: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if at - begin == step else None
    with pytest.raises(CheckpointNotWritten, match="No space left") as caught:
        store.save(both(2))
    assert isinstance(caught.value, TemporaryError)
    assert not [name for name in disk.names(ROOT) if name.startswith(".")]
    assert all(store.verify(checkpoint_id) == () for checkpoint_id in store.list())
    begin = disk.steps + 1000
    store.save(both(3))
    assert store.newest("reader") == (snapshot("reader", 3), ()), "and works again when there is room"


def test_what_a_crash_left_is_swept(store: CheckpointStore, disk: VolatileDisk) -> None:
    store.save(both(1))
    disk.make_directory(ROOT / ".new-checkpoint-x")
    disk.make_directory(ROOT / ".old-checkpoint-y")
    assert store.sweep() == (".new-checkpoint-x", ".old-checkpoint-y")
    assert store.sweep() == ()
    assert store.newest("reader") == (snapshot("reader", 1), ())


def test_the_quarantine_is_bounded(store: CheckpointStore, disk: VolatileDisk) -> None:
    for n in range(70):
        bad = store.save(both(n)).checkpoint_id
        disk.flip(ROOT / bad / "manifest.json", 3, 1)
    store.newest("reader")
    store.sweep()
    assert len(disk.names(ROOT / "quarantine")) == 64


# -- retention --------------------------------------------------------------------------------------------------------


def test_the_newest_n_are_kept(disk: VolatileDisk, clock: VirtualClock) -> None:
    store = CheckpointStore(ROOT, clock=clock, disk=disk, retention=KeepNewestPolicy(2))
    ids = [store.save(both(n)).checkpoint_id for n in range(5)]
    assert store.prune() == tuple(ids[:3])
    assert store.list() == (ids[4], ids[3])
    assert store.prune() == ()
    assert disk.names(ROOT) == sorted(ids[3:])


def test_a_module_that_is_rarely_saved_keeps_its_own() -> None:
    holdings = [Holding(f"c{n}", ("alien",)) for n in range(9, 2, -1)] + [Holding("c2", ("alien", "reader"))]
    assert KeepNewestPolicy(2).decide(holdings) == ("c3", "c4", "c5", "c6", "c7")
    assert KeepNewestPolicy(2).decide([]) == ()
    with pytest.raises(BadSettings):
        KeepNewestPolicy(0)


def test_a_quarantined_snapshot_does_not_count_as_kept(disk: VolatileDisk, clock: VirtualClock) -> None:
    store = CheckpointStore(ROOT, clock=clock, disk=disk, retention=KeepNewestPolicy(2))
    ids = [store.save({"reader": snapshot("reader", n)}).checkpoint_id for n in range(4)]
    disk.flip(ROOT / ids[3] / "reader.snapshot", 30, 1)
    store.newest("reader")
    assert store.prune() == (ids[0], ids[3])
    assert store.list() == (ids[2], ids[1])


def test_a_damaged_manifest_is_left_for_the_quarantine(disk: VolatileDisk, clock: VirtualClock) -> None:
    store = CheckpointStore(ROOT, clock=clock, disk=disk, retention=KeepNewestPolicy(1))
    ids = [store.save(both(n)).checkpoint_id for n in range(3)]
    disk.flip(ROOT / ids[0] / "manifest.json", 3, 1)
    assert store.prune() == (ids[1],)
    assert store.list() == (ids[2], ids[0])


def test_a_disk_that_refuses_to_delete_says_so(disk: VolatileDisk, clock: VirtualClock) -> None:
    store = CheckpointStore(ROOT, clock=clock, disk=disk, retention=KeepNewestPolicy(1))
    for n in range(2):
        store.save(both(n))
    disk.fail = lambda step, operation: OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(CheckpointNotWritten, match="not deleted"):
        store.prune()


# -- input ------------------------------------------------------------------------------------------------------------


def test_what_makes_no_checkpoint_is_refused(store: CheckpointStore) -> None:
    with pytest.raises(BadInput, match="no module"):
        store.save({})
    with pytest.raises(BadInput, match="one of 'reader'"):
        store.save({"alien": snapshot("reader")})
    with pytest.raises(BadInput, match="cannot name a file"):
        store.save({"../x": snapshot("../x")})
    assert store.list() == ()


def test_an_unknown_checkpoint_is_named_with_those_there_are(store: CheckpointStore) -> None:
    newest = store.save(both(1)).checkpoint_id
    with pytest.raises(BadInput, match=newest):
        store.verify("checkpoint-0000000000000000-00000000")
    with pytest.raises(BadInput, match="no checkpoint '../../etc'"):
        store.verify("../../etc")


def test_a_manifest_of_another_format_or_with_a_path_is_refused() -> None:
    part = Part("../../passwd", "", 0, 1, "j", 1, 1)
    with pytest.raises(SnapshotDamaged, match="no name"):
        decode_manifest(encode_manifest(Manifest("checkpoint-1", 1, {"reader": part})))
    with pytest.raises(SnapshotDamaged, match="format 9"):
        decode_manifest(encode_manifest(Manifest("checkpoint-1", 1, {}, format=9)))
    assert check_name("reader.snapshot") == "reader.snapshot"


def test_events_tell_of_checkpoints(store: CheckpointStore, disk: VolatileDisk) -> None:
    manifest = store.save(both(1))
    created = report.created(manifest, ROOT)
    assert (created.modules, created.digest) == (("alien", "reader"), manifest.digest)
    assert created.size_bytes == sum(len(disk.read(ROOT / manifest.checkpoint_id / f"{n}.snapshot")) for n in both(1))
    assert report.loaded(manifest, "reader").modules == ("reader",)
    disk.flip(ROOT / manifest.checkpoint_id / "reader.snapshot", 1, 1)
    _, problems = store.newest("reader")
    assert report.corrupted(problems[0]).modules == ("reader",)
    assert "quarantine" in str(report.corrupted(problems[0]).path)
    assert report.recovered(problems, "reader").checkpoint_id == manifest.checkpoint_id
