"""Feeding a source into a system: batches, a bounded number in flight, a count of everything that happened."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import msgspec

from tori.client import SystemClient
from tori.errors import Backpressure
from tori.events.document import Document, Receipt, moved
from tori.sources import Refusal, Source

BATCH_DOCUMENTS = 32
BATCH_CHARACTERS = 512 * 1024
IN_FLIGHT = 3
RETRY_S = 0.5
SHOWN_EVERY_S = 1.0
PATIENCE_S = 120.0
"""A module that has read nothing for so long is paused, or stuck: a person should know."""


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
    waiting: str = ""
    """Why nothing goes on right now: which module is how far behind."""
    waited_s: float = 0.0
    """Time spent waiting for credit."""


class Credit:
    """Waits at a door that has no credit; gives up when the lag has not shrunk for the patience."""

    def __init__(self, report: FeedReport, wait: Callable[[float], None], patience_s: float) -> None:
        self._report = report
        self._wait = wait
        self._patience_s = patience_s
        self._lock = threading.Lock()

    def insist(self, send: Callable[[], Receipt]) -> Receipt:
        """Return what ``send`` returns, once there is credit; raises Backpressure in the end, other errors at once."""
        best, stuck_s = math.inf, 0.0
        while True:
            try:
                receipt = send()
            except Backpressure as error:
                lag, pause_s = float(error.fields.get("lag", 0)), float(error.fields.get("retry_s", RETRY_S))
                best, stuck_s = (lag, 0.0) if lag < best else (best, stuck_s + pause_s)
                if stuck_s > self._patience_s:
                    raise
                with self._lock:
                    self._report.waiting = f"{error.fields.get('module', '?')} is {lag:,.0f} behind"
                    self._report.waited_s += pause_s
                self._wait(pause_s)
            else:
                self._report.waiting = ""
                return receipt


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


def feed(
    client: SystemClient,
    source: Source,
    progress: Callable[[FeedReport], None] = lambda _: None,
    *,
    wait: Callable[[float], None] = time.sleep,
    patience_s: float = PATIENCE_S,
    replace: bool = False,
) -> FeedReport:
    """Send every document of ``source``; returns when all of them are on disk. Interrupted, it can simply be run again.

    ``replace``: a file may take the place of another file with the same id; otherwise that is refused, with both paths.
    Waits while the door has no credit, and shows it in the report; raises Backpressure when the lag has not shrunk for ``patience_s``.
    """
    report = FeedReport()
    credit = Credit(report, wait, patience_s)
    begun = time.monotonic()
    flights: deque[tuple[list[Document], Future[Receipt]]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="tori-feed") as pool:
        for batch in batches(source, report):
            if len(flights) >= IN_FLIGHT:
                _land(flights, report, progress)
                progress(report)
            send = partial(client.ingest, msgspec.msgpack.encode(moved(batch) if replace else batch))
            flights.append((batch, pool.submit(credit.insist, send)))
        while flights:
            _land(flights, report, progress)
            report.seconds = time.monotonic() - begun
            progress(report)
    report.seconds = time.monotonic() - begun
    return report


def _land(
    flights: deque[tuple[list[Document], Future[Receipt]]], report: FeedReport, progress: Callable[[FeedReport], None]
) -> None:
    batch, future = flights.popleft()
    while not future.done():
        with contextlib.suppress(TimeoutError):
            future.exception(SHOWN_EVERY_S)
        if report.waiting:
            progress(report)
    receipt = future.result()
    report.documents += len(batch)
    report.objects += sum(len(d.sections) for d in batch)
    report.characters += sum(len(d.text) for d in batch)
    report.accepted += receipt.accepted
    report.duplicates += receipt.duplicates
    for document_id, reason in receipt.refused:
        _refuse(report, f"{document_id[:80]!r}: {reason}")
