"""The phases that scenarios are made of, each the life of one process.

``python -m tests.chaos.stage PHASE BUILD FOLDER [ARGUMENT...]`` imports the build, plays the phase on the home in FOLDER and writes its
histories there. Nothing of the product is imported before the build is chosen.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.chaos.history import HistoryWriter, Item
from tests.chaos.identity import OPERATION, digest_of, document_item, producer_item
from tests.chaos.power import PowerShadow
from tests.chaos.sabotage import install

HOME, HISTORY, SHADOW = "home", "history", "shadow"
CLIENTS, ECHO = "clients", "echo"
DIED = 9
"""Exit code of a phase that ends as if it had been killed."""


class Stage:
    """A folder with a home, and the process that plays on it."""

    def __init__(self, folder: Path, process: str) -> None:
        self.home = folder / HOME
        self.folder = folder
        self.history = HistoryWriter(folder / HISTORY, process)
        self.process = process

    # -- documents through the clients' door -----------------------------------------------------------------------

    def mind(self) -> Any:
        """Return the in-process runtime with the clients' door and the echo behind it."""
        from tests.chaos.echo import Echo
        from tori.local import LocalSystem
        from tori.modules.registry import FOLLOWS, create_module

        FOLLOWS[ECHO] = (CLIENTS,)
        return LocalSystem(
            self.home, modules=(CLIENTS, ECHO), create=lambda name: Echo() if name == ECHO else create_module(name)
        )

    def ingest(self, mind: Any, first: int, count: int, *, is_answered: bool = True) -> None:
        """Put ``count`` documents in, one call each; unanswered, the process ends before the client hears of the last."""
        import msgspec

        from tori.events.document import Document

        for number in range(first, first + count):
            document = Document(f"note-{number}", f"Note {number}", f"The text of note {number}.")
            item = document_item(document.id, document.title, document.text, None, "", (), ())
            call = self.history.invoke("ingest", [Item(item, document.id)])
            mind.submit(msgspec.msgpack.encode([document]))
            if number + 1 == first + count and not is_answered:
                os._exit(DIED)
            self.history.ok(call)

    # -- operations of a producer with a journal of its own --------------------------------------------------------

    def writer(self) -> Any:
        from tori.journal.writer import JournalWriter

        return JournalWriter(self.home / "journals" / CLIENTS, segment_bytes=1 << 16, fallback_s=None)

    def publish(self, writer: Any, seqs: Iterator[int], *, is_committed: bool = True) -> None:
        """Publish one operation; uncommitted, it is written and nobody has promised anything."""
        import msgspec

        from tori.events.envelope import Event, FrameContext
        from tori.events.system import CustomEvent
        from tori.ids import IdSource, source_suffix
        from tori.journal.unit import event_frames

        seq = next(seqs)
        ids = IdSource(source_suffix(self.process))
        body = f"{self.process} says {seq} and will not take it back"
        data = {"origin": self.process, "incarnation": 1, "seq": seq, "key": f"key-{seq % 3}", "body": body}
        payload = CustomEvent(OPERATION, data)
        digest = digest_of(msgspec.msgpack.encode(payload))
        item = Item(producer_item(self.process, 1, seq), f"key-{seq % 3}", digest)
        call = self.history.invoke("publish", [item])
        ticket = writer.append(event_frames(FrameContext(self.process), [Event(ids.next(), payload, item.key)]))
        if is_committed:
            writer.commit(ticket.end)
            self.history.ok(call, journal=CLIENTS, sequence=ticket.first_sequence)

    def observe(self, start: int = 0) -> int:
        """Note every entry that a durable subscriber is handed; return where it stopped. Damage is noted as reported."""
        import msgspec

        from tests.chaos.identity import payload_item
        from tori.errors import JournalDamaged
        from tori.journal.frame import EVENTS
        from tori.journal.reader import JournalReader

        reader = JournalReader(self.home / "journals" / CLIENTS)
        at, sequence = start, 0
        try:
            for frame in reader.frames(start, reader.limit("durable")):
                sequence = frame.header.first_sequence + frame.header.count
                at = frame.end
                for index, event in enumerate(frame.lazily().events if frame.header.kind == EVENTS else ()):
                    payload = bytes(event.payload)
                    item = payload_item(msgspec.msgpack.decode(payload))
                    self.history.seen(CLIENTS, frame.header.first_sequence + index, item, digest_of(payload))
        except JournalDamaged as error:
            self.history.damage(CLIENTS, sequence, error)
        finally:
            reader.close()
        return at

    def echo(self) -> Any:
        """Return the echo's host alone, beside a journal that somebody else writes."""
        from tests.chaos.echo import open_host

        return open_host(self.home, CLIENTS)


# -- phases ------------------------------------------------------------------------------------------------------------


def ingest_and_die(stage: Stage) -> None:
    """Thirty documents acknowledged, then the process is gone; the power shadow holds what was synced."""
    mind = stage.mind()
    stage.ingest(mind, 0, 30)
    mind.pump()
    os._exit(DIED)


def settle(stage: Stage) -> None:
    """Start again, put five more in, let everything be handled, stop."""
    with stage.mind() as mind:
        stage.ingest(mind, 100, 5)
        mind.pump()


def die_before_the_answer(stage: Stage) -> None:
    """Ten documents; the client never hears of the last."""
    mind = stage.mind()
    stage.ingest(mind, 0, 10, is_answered=False)


def ingest_again(stage: Stage) -> None:
    """The same client makes sure: it puts the same ten documents in again."""
    with stage.mind() as mind:
        stage.ingest(mind, 0, 10)
        mind.pump()


def die_between_two_writes(stage: Stage) -> None:
    """The process ends right after the echo's third write into its journal."""
    mind = stage.mind()
    journal = mind.hosts[ECHO].journal
    real, written = journal.append, [0]

    def append(frames: Any) -> Any:
        ticket = real(frames)
        written[0] += 1
        if written[0] == 3:
            os._exit(DIED)
        return ticket

    journal.append = append
    for number in range(5):
        stage.ingest(mind, number, 1)
        mind.pump()
    raise AssertionError("the echo did not write three times")


def publish_some(stage: Stage) -> None:
    """Twenty operations, acknowledged; then an orderly end."""
    writer = stage.writer()
    seqs = iter(range(20))
    for _ in range(20):
        stage.publish(writer, seqs)
    writer.close()


def only_observe(stage: Stage) -> None:
    """A subscriber reads everything there is."""
    stage.observe()


def publish_and_leave_open(stage: Stage) -> None:
    """Every third operation is committed and acknowledged, followers look after each; then the process is gone."""
    writer, seqs = stage.writer(), iter(range(100))
    host = stage.echo()
    at = 0
    for number in range(11):
        stage.publish(writer, seqs, is_committed=number % 3 == 2)
        at = stage.observe(at)
        host.step()
    os._exit(DIED)


def publish_others(stage: Stage) -> None:
    """After the power came back: others publish where the lost ones stood, and everything is handled."""
    writer, seqs = stage.writer(), iter(range(100))
    for _ in range(6):
        stage.publish(writer, seqs)
    stage.observe()
    host = stage.echo()
    while host.step():
        pass
    host.close()
    writer.close()


def publish_until_told(stage: Stage) -> None:
    """Publish without an end, slowly, until refused or told by a file; errors are outcomes."""
    writer, seqs = stage.writer(), iter(range(10_000))
    while not (stage.folder / "stop").exists():
        for _ in range(5):
            stage.publish(writer, seqs)
        (stage.folder / f"{stage.process}.alive").touch()
        time.sleep(0.005)


PHASES: dict[str, Callable[[Stage], None]] = {
    phase.__name__: phase
    for phase in (
        ingest_and_die,
        settle,
        die_before_the_answer,
        ingest_again,
        die_between_two_writes,
        publish_some,
        only_observe,
        publish_and_leave_open,
        publish_others,
        publish_until_told,
    )
}


def main(phase: str, build: str, folder: str, process: str) -> None:
    """Play one phase."""
    if os.environ.get("TORI_CHAOS_POWER"):
        PowerShadow(Path(folder) / HOME, Path(folder) / SHADOW).install()
    install(build)
    PHASES[phase](Stage(Path(folder), process))


if __name__ == "__main__":
    main(*sys.argv[1:])
