"""The bus as a library: one durable journal, one follower, no broker and no Ray."""

import tempfile
from pathlib import Path

from tori.events.envelope import Event, FrameContext
from tori.events.system import CustomEvent
from tori.ids import IdSource, source_suffix
from tori.journal.follower import Follower
from tori.journal.reader import JournalReader
from tori.journal.unit import event_frames
from tori.journal.writer import JournalWriter


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        writer = JournalWriter(Path(home) / "orders", segment_bytes=1 << 20)
        ids = IdSource(source_suffix("orders"))
        events = [Event(ids.next(), CustomEvent("ordered", {"number": n}), key="shop") for n in range(3)]
        ticket = writer.append(event_frames(FrameContext("orders"), events))
        writer.commit(ticket.end)  # returns when they are on disk

        follower = Follower(JournalReader(Path(home) / "orders"))
        for frame in follower.take([]):
            for event in frame.events:
                print(event.type, event.payload)
        writer.close()


if __name__ == "__main__":
    main()
