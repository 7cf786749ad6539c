"""The in-process runtime, the host and the loop: restarts, replays, and a digest that depends on content only."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.system import batches, small_corpus
from tori.clock import SystemClock, VirtualClock
from tori.digest import canonical, mind_digest, section_digest
from tori.errors import BadInput, Unavailable
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested, SuggestionAccepted
from tori.events.system import CustomEvent, SystemStarted, TaskCompleted, TaskStarted
from tori.journal.frame import HEADER_BYTES, decode_header
from tori.journal.memory import MemoryJournal
from tori.journal.reader import JournalReader
from tori.journal.view import newest_rows, story_rows
from tori.local import LocalSystem
from tori.modules.base import Context, Fact, Module
from tori.modules.clients import Clients
from tori.modules.host import ModuleHost
from tori.modules.loop import ModuleLoop
from tori.modules.open import input_directories, journal_directory, open_host
from tori.orchestrator.ledger import KEPT_OF_TASK, Ledger


class Note(msgspec.Struct, array_like=True, tag=1):
    document_id: str


class Counting(Module):
    """Counts documents by private records and says so by events."""

    name = "reader"
    inputs = (DocumentIngested, SystemStarted)
    records = Note

    def __init__(self, *, fails_on: str = "") -> None:
        self.notes: Counter[str] = Counter()
        self.seen: list[str] = []
        self.said = 0
        self.fails_on = fails_on

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        facts: list[Fact] = []
        for event in batch:
            if isinstance(event.payload, DocumentIngested):
                if event.payload.document_id == self.fails_on:
                    raise RuntimeError(f"cannot take {self.fails_on}")
                facts += [Note(event.payload.document_id), context.event(CustomEvent("counted"), causes=[event.id])]
        return facts

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Note):
            self.notes[fact.document_id] += 1
        elif isinstance(fact, Event):
            if isinstance(fact.payload, CustomEvent):
                self.said += 1
            else:
                self.seen.append(getattr(fact.payload, "document_id", fact.type))

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((sorted(self.notes.items()), self.seen, self.said))

    def restore(self, data: bytes) -> None:
        notes, self.seen, self.said = msgspec.msgpack.decode(data, type=tuple[dict[str, int], list[str], int] | Any)
        self.notes = Counter(dict(notes))


def host_of(module: Module, own: MemoryJournal, clients: MemoryJournal, mind: LocalSystem) -> ModuleHost:
    return ModuleHost(module, own, own, [clients], VirtualClock(), mind.archive.read, incarnation=b"t")


def test_replay_equals_living_after_every_unit() -> None:
    with LocalSystem(modules=("clients",)) as mind:
        clients: Any = mind.archive.readers["clients"]
        own = MemoryJournal("reader")
        host = host_of(Counting(), own, clients, mind)
        host.recover()
        snapshots = []
        for batch in batches(small_corpus(20), 4):
            mind.submit(batch)
            if len(snapshots) == 2:
                mind.hosts["clients"].emit([], [(SystemStarted("urgent"), "")])
            host.step(max_events=1)
            snapshots.append(host.snapshot())
        while host.has_work:
            host.step()
        assert host.lag == 0
        assert host.lags() == {"clients": 0}
        module = host.module
        assert isinstance(module, Counting)
        assert set(module.notes.values()) == {1}
        assert len(module.notes) == module.said == 20
        assert "SystemStarted" in module.seen
        for snapshot in (None, *snapshots):
            again = host_of(Counting(), own, clients, mind)
            again.recover(snapshot)
            assert again.module.snapshot() == module.snapshot()
            assert again.step() == 0
            assert again.counters.events == host.counters.events


def test_a_decide_that_raises_loses_nothing() -> None:
    with LocalSystem(modules=("clients",)) as mind:
        clients: Any = mind.archive.readers["clients"]
        own = MemoryJournal("reader")
        mind.ingest(small_corpus(8), batch=2)
        failing = host_of(Counting(fails_on=small_corpus(8)[5].id), own, clients, mind)
        failing.recover()
        assert [failing.step(max_events=1) for _ in range(2)] == [2, 2]
        while failing.has_work:
            failing.step(max_events=1)
        (held,) = failing.courier.pending
        assert "cannot take" in held.story[0]
        assert failing.lag == 1, "only the document it fails on waits"
        mended = host_of(Counting(), own, clients, mind)
        mended.recover()
        while mended.step():
            pass
        assert isinstance(mended.module, Counting)
        assert mended.module.notes == Counter({d.id: 1 for d in small_corpus(8)})


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, str]:
    with LocalSystem() as mind:
        mind.ingest(small_corpus())
        mind.quiesce()
        return mind.digests()


def test_the_digest_does_not_depend_on_order_or_batches(undisturbed: dict[str, str]) -> None:
    documents = small_corpus()
    random.Random(7).shuffle(documents)
    with LocalSystem() as mind:
        for document in documents:
            mind.ingest([document], batch=1)
            mind.pump()
        mind.quiesce()
        assert mind.digests() == undisturbed
        mind.quiesce()
        assert mind.digests() == undisturbed


def test_the_digest_survives_restarts_on_disk(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    documents = small_corpus()
    with LocalSystem(tmp_path) as mind:
        mind.ingest(documents[:20])
        mind.quiesce()
        snapshots = mind.snapshots()
    with LocalSystem(tmp_path, snapshots=snapshots) as mind:
        mind.ingest(documents[:30])
        mind.pump()
    with LocalSystem(tmp_path) as mind:
        mind.ingest(documents)
        mind.quiesce()
        assert mind.digests() == undisturbed
        assert list(mind.frames("clients", 0))
        chunk = next(iter(mind.frames("clients", 0)))
        header = decode_header(chunk)
        assert header is not None
        assert len(chunk) >= HEADER_BYTES


def test_changing_any_section_changes_the_digest(undisturbed: dict[str, str]) -> None:
    assert set(undisturbed) >= {"clients", "reader", "hierarchy", "braid", "wormhole", "alien", "scars"}
    whole = mind_digest(undisturbed)
    for name in undisturbed:
        assert mind_digest(undisturbed | {name: section_digest({"other": name})}) != whole
    documents = small_corpus()
    documents[0] = msgspec.structs.replace(documents[0], text=documents[1].text)
    with LocalSystem() as mind:
        mind.ingest(documents)
        mind.quiesce()
        changed = {n for n, d in mind.digests().items() if d != undisturbed[n]}
    assert changed >= {"clients", "reader"}
    with pytest.raises(ValueError, match="float"):
        canonical(float("nan"))


def test_clients_take_each_content_once() -> None:
    with LocalSystem(modules=("clients",)) as mind:
        document = Document("a", "", "some text")
        assert mind.ingest([document, document]).duplicates == 1
        assert mind.ingest([msgspec.structs.replace(document, text="new text")]).accepted == 1
        refused = mind.ingest([Document(" ", "", "x"), Document("b", "", " "), Document("c\n", "", "x")]).refused
        assert len(refused) == 3
        assert mind.query("clients", "summary") == {"documents": 1, "replaced": 1}
        event_id = mind.query("clients", "find", {"id": "a"})["event_id"]
        assert story_rows(mind.archive, event_id)[0]["payload"]["text"] == "new text"
        assert mind.query("clients", "find", {"id": "z"}) == {}
        mind.command("clients", "say", {"payload": SuggestionAccepted("w-1", "me")})
        assert newest_rows(mind.archive, 1)[0]["type"] == "SuggestionAccepted"
        restored = Clients()
        restored.restore(mind.hosts["clients"].module.snapshot())
        assert restored.section() == mind.hosts["clients"].module.section()
        for call in (
            lambda: mind.command("clients", "say", {"payload": SystemStarted("x")}),
            lambda: mind.command("clients", "ingest", {"documents": b"\xc1"}),
            lambda: mind.command("clients", "dance"),
            lambda: mind.query("clients", "dance"),
            lambda: mind.query("nobody", "summary"),
            lambda: story_rows(mind.archive, "xyz"),
            lambda: story_rows(mind.archive, "00" * 16),
            lambda: story_rows(mind.archive, "00"),
        ):
            with pytest.raises(BadInput):
                call()


def test_the_ledger_remembers_runs() -> None:
    with LocalSystem(modules=("orchestrator",)) as mind:
        host = mind.hosts["orchestrator"]
        host.emit(
            [], [(TaskStarted("t", "r-1", "alien_audit"), ""), (TaskCompleted("t", "r-1", "alien_audit", 1, 0.5), "")]
        )
        (run,) = mind.query("orchestrator", "runs")
        assert (run["state"], run["duration_s"]) == ("succeeded", 0.5)
        again = Ledger()
        again.restore(host.module.snapshot())
        assert again.snapshot() == host.module.snapshot()
        for name in ("summary", "problems", "counts", "metrics", "find"):
            assert again.query(name, {}) is not None


def test_the_ledger_shows_the_last_run_of_each_task_however_often_others_run() -> None:
    with LocalSystem(modules=("orchestrator",)) as mind:
        host = mind.hosts["orchestrator"]
        host.emit([], [(TaskStarted("nightly", "n", "user"), "")])
        host.emit([], [(TaskStarted("metrics", f"m-{number}", "performance_metrics"), "") for number in range(3000)])
        rows = mind.query("orchestrator", "runs", {"limit": 10})
        assert [row["run_id"] for row in rows] == ["n", *(f"m-{number}" for number in range(2991, 3000))]
        assert mind.query("orchestrator", "summary")["runs"] == 1 + KEPT_OF_TASK


def test_a_loop_serves_inputs_and_requests(tmp_path: Path) -> None:
    def loop_of(name: str) -> ModuleLoop:
        def start() -> ModuleHost:
            return open_host(tmp_path, name, segment_bytes=1 << 20, load_snapshot=lambda _: None)

        return ModuleLoop(name, start, input_directories(tmp_path, name))

    clients, alien = loop_of("clients"), loop_of("alien")
    input_directories(tmp_path, "alien")
    clients.start()
    alien.start()
    assert clients.wait_ready(10).name == "clients"
    alien.wait_ready(10)
    receipt = clients.call(lambda host: host.command("ingest", {"documents": batches(small_corpus(5), 5)[0]}), 10)
    assert receipt.accepted == 5
    while alien.view.consumed < 5:
        alien.call(lambda host: None, 10)
    alien.pause(paused=True)
    clients.call(lambda host: host.command("ingest", {"documents": batches(small_corpus(6), 6)[0]}), 10)
    alien.call(lambda host: None, 10)
    alien.pause(paused=False)
    while alien.view.consumed < 6:
        alien.call(lambda host: None, 10)
    with pytest.raises(BadInput):
        clients.call(lambda host: host.command("dance", {}), 10)
    alien.stop()
    clients.stop()
    alien.join()
    with pytest.raises(Unavailable):
        alien.call(lambda host: None)
    assert alien.view.late_wakes == clients.view.late_wakes == 0
    reader = JournalReader(journal_directory(tmp_path, "clients"))
    assert reader.sequence() == 6
    reader.close()


def test_a_loop_that_cannot_open_says_why(tmp_path: Path) -> None:
    def fail() -> ModuleHost:
        raise BadInput("no home.")

    loop = ModuleLoop("reader", fail, [])
    loop.start()
    with pytest.raises(BadInput, match="no home"):
        loop.wait_ready(10)
    with pytest.raises(BadInput, match="no home"):
        loop.join()
    assert SystemClock.wall_ns() > 0
