"""A real system for tests: started, killed part by part, audited."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.journal.follower import Run
from tori.journal.frame import EVENTS
from tori.journal.reader import JournalReader
from tori.journal.unit import units
from tori.settings import load_settings

TOPICS = (
    ("garden", "rose pruning", "garden soil", "water the flower bed", "spring planting"),
    ("engine", "piston ring", "engine block", "oil the cylinder head", "spark plug"),
    ("music", "string quartet", "concert hall", "tune the violin section", "slow movement"),
    ("kitchen", "bread dough", "oven temperature", "knead the sourdough starter", "rye flour"),
)


def small_corpus(count: int = 48) -> list[Document]:
    """Return dated documents about four topics, with links inside each; the same ones every time."""
    documents = []
    for number in range(count):
        name, first, second, third, fourth = TOPICS[number % len(TOPICS)]
        other = TOPICS[(number * 7 + 1) % len(TOPICS)]
        year = 2001 + number // 3
        text = (
            f"The {first} matters most when the {second} is dry. Note {number} says to {third} twice. "
            f"A {fourth} follows the {first}, and the {second} is checked again.\n\n"
            f"In year {year} the {fourth} was compared with {other[1]} and with {other[2]}. "
            f"Nobody expected the {other[3]} to depend on the {second}."
        )
        links = (f"{name}-{number - 4:03d}",) if number >= 4 else ()
        time_ns = int((year - 1970) * 365.25 * 86_400) * 1_000_000_000
        documents.append(Document(f"{name}-{number:03d}", f"{name} note {number}", text, time_ns, "test", "", links))
    return documents


def batches(documents: Sequence[Document], size: int) -> list[bytes]:
    return [msgspec.msgpack.encode(list(documents[i : i + size])) for i in range(0, len(documents), size)]


def system_settings(home: Path, **overrides: Any) -> Any:
    """Return settings for a small test system: small segments, no Ray dashboard, no task held because the machine is busy."""
    return load_settings(
        home,
        {
            "journal.segment_size_bytes": 1 << 20,
            "ray.dashboard": False,
            "ray.object_store_bytes": 128 << 20,
            "limits.resource_check_s": 3600.0,
        }
        | overrides,
    )


def kill(pid: int) -> None:
    """kill -9, and wait until the process is gone."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} survives kill -9")


def events_of(home: Path, name: str) -> list[Event]:
    """Return every event of one journal."""
    reader = JournalReader(home / "journals" / name)
    try:
        frames = reader.frames(reader.first_offset(), reader.limit())
        return [e for f in frames if f.header.kind == EVENTS for e in f.events]
    finally:
        reader.close()


def audit(home: Path, documents: Sequence[Document]) -> dict[str, int]:
    """Check the journals of a stopped system: nothing lost, nothing invented, no input handled twice, no sequence missing.

    Returns the number of events by journal; raises AssertionError naming what is wrong.
    """
    counts = {}
    for directory in sorted((home / "journals").iterdir()):
        reader = JournalReader(directory)
        expected, seen_ids, runs = 0, set[bytes](), list[Run]()
        for frame in reader.frames(reader.first_offset(), reader.limit()):
            if frame.header.count:
                assert frame.header.first_sequence == expected, f"{directory.name}: sequences jump at {expected}"
                expected += frame.header.count
            if frame.header.kind == EVENTS:
                ids = [e.id for e in frame.events]
                assert seen_ids.isdisjoint(ids), f"{directory.name}: an event id stands twice"
                seen_ids.update(ids)
        for unit in units(reader, reader.first_offset(), reader.limit()):
            runs += unit.runs
        _no_input_twice(directory.name, runs)
        counts[directory.name] = len(seen_ids)
        reader.close()
    ingested = [e.payload for e in events_of(home, "clients") if isinstance(e.payload, DocumentIngested)]
    assert len(ingested) == len({p.document_id for p in ingested}), "a document was taken twice"
    assert {(p.document_id, p.content_hash) for p in ingested} == {(d.id, d.content_hash()) for d in documents}
    return counts


def _no_input_twice(name: str, runs: list[Run]) -> None:
    for journal in {r.journal for r in runs}:
        spans = sorted((r.start, r.end) for r in runs if r.journal == journal and not r.only)
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert start >= end, f"{name} consumed offsets {start}..{end} of {journal} twice"
