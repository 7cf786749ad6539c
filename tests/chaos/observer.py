"""A durable subscriber outside Ray: follows the producer's journal, notes every entry, keeps its cursor in a file.

``python -m tests.chaos.observer HOME HISTORY PROCESS``. It notes an entry before it moves its cursor, so after a kill it may note
one twice (in another file) and misses none.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from tests.chaos.history import HistoryWriter
from tests.chaos.identity import digest_of, payload_item
from tests.chaos.producer import JOURNAL
from tori.errors import JournalMissing
from tori.journal.frame import EVENTS
from tori.journal.reader import JournalReader

POLL_S = 0.004


def main(home: str, history: str, process: str) -> None:
    """Follow until killed."""
    directory, kept = Path(home) / "journals" / JOURNAL, Path(history) / "observer.cursor"
    lines = HistoryWriter(Path(history), process)
    reader = _open(directory)
    at = int(kept.read_text()) if kept.exists() else reader.first_offset()
    while True:
        limit = reader.limit("durable")
        if limit <= at:
            time.sleep(POLL_S)
            continue
        for frame in reader.frames(at, limit):
            first = frame.header.first_sequence
            for index, event in enumerate(frame.lazily().events if frame.header.kind == EVENTS else ()):
                payload = bytes(event.payload)
                lines.seen(JOURNAL, first + index, payload_item(msgspec.msgpack.decode(payload)), digest_of(payload))
            at = frame.end
        temporary = kept.with_suffix(".new")
        temporary.write_text(str(at))
        os.replace(temporary, kept)


def _open(directory: Path) -> JournalReader:
    while True:
        try:
            return JournalReader(directory)
        except (JournalMissing, FileNotFoundError):
            time.sleep(POLL_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
