"""Feeding a source into a system: batches, a bounded number in flight, a count of everything that happened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from tori.client import SystemClient
from tori.events.document import Document, Receipt
from tori.sources import Refusal, Source

BATCH_DOCUMENTS = 32
BATCH_CHARACTERS = 512 * 1024
IN_FLIGHT = 3


class FeedReport(msgspec.Struct):
    """What became of a source."""

    documents: int = 0
    """Documents the source yielded."""
    objects: int = 0
    """Titled sections inside them, such as documented Python objects."""
    characters: int = 0
    accepted: int = 0
    duplicates: int = 0
    refusals: list[str] = []
    """Sentences, one a refused input; the first 1,000."""
    refused: int = 0
    seconds: float = 0.0


def batches(source: Source, report: FeedReport) -> Iterator[list[Document]]:
    """Yield the documents of a source in batches, noting refusals in ``report``."""
    batch: list[Document] = []
    characters = 0
    for item in source.documents():
        if isinstance(item, Refusal):
            _refuse(report, str(item))
            continue
        batch.append(item)
        characters += len(item.text)
        if len(batch) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _refuse(report: FeedReport, sentence: str) -> None:
    report.refused += 1
    if len(report.refusals) < 1000:
        report.refusals.append(sentence)


def feed(client: SystemClient, source: Source, progress: Callable[[FeedReport], None] = lambda _: None) -> FeedReport:
    """Send every document of ``source``; returns when all of them are on disk. Interrupted, it can simply be run again."""
    report = FeedReport()
    begun = time.monotonic()
    flights: deque[tuple[list[Document], Future[Receipt]]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="tori-feed") as pool:
        for batch in batches(source, report):
            if len(flights) >= IN_FLIGHT:
                _land(flights, report)
                progress(report)
            flights.append((batch, pool.submit(client.ingest, msgspec.msgpack.encode(batch))))
        while flights:
            _land(flights, report)
            report.seconds = time.monotonic() - begun
            progress(report)
    report.seconds = time.monotonic() - begun
    return report


def _land(flights: deque[tuple[list[Document], Future[Receipt]]], report: FeedReport) -> None:
    batch, future = flights.popleft()
    receipt = future.result()
    report.documents += len(batch)
    report.objects += sum(len(d.sections) for d in batch)
    report.characters += sum(len(d.text) for d in batch)
    report.accepted += receipt.accepted
    report.duplicates += receipt.duplicates
    for document_id, reason in receipt.refused:
        _refuse(report, f"{document_id[:80]!r}: {reason}")
