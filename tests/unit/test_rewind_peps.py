"""Rewinding the mind over the PEPs to the middle of its ingest: the digest is that of a mind that was only given the first half.

Every eighteenth PEP by default; ``TORI_REWIND_PEPS=1`` takes all of them whole (minutes).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from tori.checkpoint.store import CheckpointStore
from tori.events.cloudevents import format_time
from tori.events.document import Document
from tori.local import LocalSystem
from tori.local.rewound import rewind
from tori.sources.jsonl import JsonLines

EVERY = int(os.environ.get("TORI_REWIND_PEPS", "18"))
LONGEST = 8_000


def corpus(shared_data: Path) -> list[Document]:
    every = [d for d in JsonLines(shared_data / "peps.jsonl.gz").documents() if isinstance(d, Document)][::EVERY]
    return every if EVERY == 1 else [_opening(document) for document in every]


def _opening(document: Document) -> Document:
    sections = tuple(s for s in document.sections if s.end <= LONGEST)
    return msgspec.structs.replace(document, text=document.text[:LONGEST], sections=sections)


def test_the_middle_of_the_ingest_is_the_mind_of_the_first_half(shared_data: Path, tmp_path: Path) -> None:
    documents = corpus(shared_data)
    half = len(documents) // 2
    with LocalSystem() as other:
        other.ingest(documents[:half])
        wanted = other.quiesce(), other.digests()
    home = tmp_path / "mind"
    with LocalSystem(home) as mind:
        mind.ingest(documents[:half])
        mind.pump()  # taken, and not settled: no scan has looked at it yet
        middle = format_time(time.time_ns())
        mind.ingest(documents[half:])
        mind.pump()
        mind.scan("reader", "concept_selection")
        mind.pump()
        mind.checkpoint(CheckpointStore(home / "checkpoints"))
        before = mind.digests()
        found = rewind(home, middle, is_settled=True)
        assert (found["digest"], found["sections"]) == wanted
        assert mind.digests() == before, "the running mind was touched"
        assert found["sections"] != before
