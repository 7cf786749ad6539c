"""The braid module: follows documents, concepts and bridges; keeps threads and crossings; answers questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tori.events.envelope import Event
from tori.events.mind import (
    BraidDissolved,
    BraidFormed,
    ConceptAdded,
    ConceptModified,
    ConceptRemoved,
    DocumentIngested,
    ThreadAppended,
    ThreadClosed,
    ThreadCreated,
    WormholeCreated,
    WormholeRemoved,
)
from tori.modules.base import Context, Fact, Module
from tori.modules.braid.cleanup import CleanupInput, CleanupResult, clean, thread_id, thread_of
from tori.modules.braid.difference import braid_facts, thread_facts
from tori.modules.braid.memory import Recall
from tori.modules.braid.settings import BraidSettings
from tori.modules.braid.state import Bridge, Crossing, State, StrengthsSettled, Thread, date_of, pack
from tori.modules.braid.view import BraidView
from tori.modules.corpus import Corpus

_TASK = "memory_cleanup"
_ThreadPayload = ThreadCreated | ThreadAppended | ThreadClosed


class Braid(Module):
    """Threads of documents in time, their crossings at rare concepts, and recall with quotations.

    Memory: packed texts (about a third of their size, at most ``BraidSettings.text_bytes``), a few hundred bytes a
    document, thread and crossing; once something was asked, about 3 kB a passage for the index.
    """

    name = "braid"
    inputs = (DocumentIngested, ConceptAdded, ConceptModified, ConceptRemoved, WormholeCreated, WormholeRemoved)
    records = StrengthsSettled
    tasks = (_TASK,)

    def __init__(self, settings: BraidSettings | None = None) -> None:
        self.settings = settings or BraidSettings()
        self._clear()

    def _clear(self) -> None:
        self.corpus = Corpus()
        self.threads: dict[str, Thread] = {}
        self.crossings: dict[str, Crossing] = {}
        self._bridges: dict[str, Bridge] = {}
        self._texts: dict[str, bytes] = {}
        self._text_bytes = 0
        self.recall = Recall(self.corpus, self._texts, self._bridges, self.settings)

    # -- events ------------------------------------------------------------------------------------------------

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        """Return what each document does to its thread, in the order of the documents."""
        facts: list[Fact] = []
        homes: dict[str, str] = {}
        drafts: dict[str, Thread] = {}
        for event in batch:
            if isinstance(event.payload, DocumentIngested):
                facts += self._place(event.id, event.payload, homes, drafts, context)
        return facts

    def _place(
        self,
        cause: bytes,
        document: DocumentIngested,
        homes: dict[str, str],
        drafts: dict[str, Thread],
        context: Context,
    ) -> Sequence[Event]:
        """Return the events of one document; ``homes`` and ``drafts`` hold what the batch changed before it."""
        facts = []
        known = self.corpus.documents.get(document.document_id)
        before = homes.get(document.document_id) or (thread_of(known) if known else None)
        after = thread_id(document.thread, document.document_id)
        if before is not None and before != after:
            left = drafts.get(before) or self.threads[before]
            drafts[before] = msgspec.structs.replace(left, position=left.position - 1)
            kind: type[_ThreadPayload] = ThreadAppended if drafts[before].position else ThreadClosed
            facts.append(_thread_event(kind, drafts[before], document.document_id, "moved", cause, context))
        standing = drafts.get(after) or self.threads.get(after)
        is_new = standing is None or standing.position == 0
        joined = _joined(None if is_new else standing, after, document, before != after)
        kind = ThreadCreated if is_new else ThreadAppended
        facts.append(_thread_event(kind, joined, document.document_id, "", cause, context))
        homes[document.document_id], drafts[after] = after, joined
        return facts

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, StrengthsSettled):
            for braid_id, strength in fact.strengths:
                self.crossings[braid_id] = msgspec.structs.replace(self.crossings[braid_id], strength=strength)
        elif isinstance(fact, Event):
            self._apply_event(fact)

    def _apply_event(self, fact: Event) -> None:
        payload = fact.payload
        if self.corpus.apply(fact):
            if isinstance(payload, DocumentIngested):
                self._keep_text(payload)
            elif isinstance(payload, ConceptAdded | ConceptModified | ConceptRemoved):
                self.recall.concept_changed(payload.concept_id)
        elif isinstance(payload, ThreadCreated | ThreadAppended | ThreadClosed):
            self._apply_thread(fact.id, payload)
        elif isinstance(payload, BraidFormed):
            self.crossings[payload.braid_id] = Crossing(
                payload.braid_id, fact.id, payload.thread_ids, payload.concept_id, payload.strength
            )
        elif isinstance(payload, BraidDissolved):
            self.crossings.pop(payload.braid_id, None)
        elif isinstance(payload, WormholeCreated):
            self._bridges[payload.wormhole_id] = Bridge(
                payload.wormhole_id, payload.concept_a, payload.concept_b, payload.strength
            )
            self.recall.graph_changed()
        elif isinstance(payload, WormholeRemoved):
            self._bridges.pop(payload.wormhole_id, None)
            self.recall.graph_changed()

    def _keep_text(self, payload: DocumentIngested) -> None:
        packed = pack(payload.text, payload.sections)
        freed = len(self._texts.get(payload.document_id, b""))
        if self._text_bytes - freed + len(packed) > self.settings.text_bytes:
            packed = pack(payload.text[: self.settings.opening_characters], ())
        self._text_bytes += len(packed) - freed
        self._texts[payload.document_id] = packed
        self.recall.document_changed(payload.document_id)

    def _apply_thread(self, event_id: bytes, payload: _ThreadPayload) -> None:
        if payload.position == 0:
            self.threads.pop(payload.thread_id, None)
            return
        self.threads[payload.thread_id] = Thread(
            payload.thread_id,
            event_id,
            payload.title,
            payload.position,
            payload.concept_ids,
            payload.metadata.get("first", ""),
            payload.metadata.get("last", ""),
            isinstance(payload, ThreadClosed),
        )

    def standing(self) -> Iterator[bytes]:
        yield from self.corpus.event_ids()
        yield from (t.event_id for t in self.threads.values())
        yield from (c.event_id for c in self.crossings.values())

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            State(
                self.corpus.snapshot(),
                sorted(self._texts.items()),
                [self.threads[i] for i in sorted(self.threads)],
                [self.crossings[i] for i in sorted(self.crossings)],
                [self._bridges[i] for i in sorted(self._bridges)],
            )
        )

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=State)
        self._clear()
        self.corpus.restore(state.corpus)
        self._texts.update(state.texts)
        self._text_bytes = sum(map(len, self._texts.values()))
        self.threads.update((t.id, t) for t in state.threads)
        self.crossings.update((c.id, c) for c in state.crossings)
        self._bridges.update((b.id, b) for b in state.bridges)

    def validate(self) -> None:
        held: dict[str, int] = {}
        for document in self.corpus.documents.values():
            home = thread_of(document)
            held[home] = held.get(home, 0) + 1
        assert held == {t.id: t.position for t in self.threads.values()}, "threads do not hold the documents"
        assert set(self._texts) == set(self.corpus.documents), "texts and documents differ"
        assert self._text_bytes == sum(map(len, self._texts.values())), "text size is miscounted"

    # -- the canonical pass ------------------------------------------------------------------------------------

    def prepare(self, task: str) -> bytes:
        if task != _TASK:
            return super().prepare(task)
        return msgspec.msgpack.encode(CleanupInput(self.corpus.snapshot(), self.settings))

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        if task != _TASK:
            return super().run(task, data)
        given = msgspec.msgpack.decode(data, type=CleanupInput)
        return msgspec.msgpack.encode(clean(Corpus.from_snapshot(given.corpus), given.settings))

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        """Return the differences between the pass and what stands; warm the recall caches on the way."""
        if task != _TASK:
            return super().conclude(task, result, context)
        found = msgspec.msgpack.decode(result, type=CleanupResult)
        if self._texts:
            self.recall.warm()
        threads = thread_facts(found.threads, self.threads, self.corpus, context)
        return [*threads, *braid_facts(found, self.crossings, self.corpus, context)]

    # -- questions ---------------------------------------------------------------------------------------------

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return self._view().query(name, arguments)

    def section(self) -> Any:
        return self._view().section()

    def _view(self) -> BraidView:
        return BraidView(self.corpus, self.threads, self.crossings, len(self._bridges), self._text_bytes, self.recall)


def _joined(standing: Thread | None, thread: str, document: DocumentIngested, is_joining: bool) -> Thread:
    """Return a thread after ``document`` joined it (or replaced one of its own); the next pass corrects first and last."""
    day = date_of(document.time_ns)
    title = document.thread or document.title or document.document_id
    if standing is None:
        return Thread(thread, b"", title, 1, (), day, day, False)
    return msgspec.structs.replace(
        standing,
        title=title,
        position=standing.position + is_joining,
        first=min((d for d in (standing.first, day) if d), default=""),
        last=max(standing.last, day),
        is_closed=False,
    )


def _thread_event(
    kind: type[_ThreadPayload], thread: Thread, document_id: str, reason: str, cause: bytes, context: Context
) -> Event:
    metadata = {"first": thread.first, "last": thread.last, "document": document_id}
    if reason:
        metadata["reason"] = reason
    payload = kind(thread.id, thread.concept_ids, thread.title, thread.position, metadata)
    return context.event(payload, key=thread.id, causes=(cause,))
