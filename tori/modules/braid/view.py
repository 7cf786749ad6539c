"""Answers of the braid module as plain JSON, and its part of the digest. Reads, never writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tori.errors import BadInput
from tori.modules.braid.cleanup import thread_of
from tori.modules.braid.memory import Recall
from tori.modules.braid.state import Crossing, Thread, date_of
from tori.modules.corpus import Corpus

MOST_ANSWERS = 100
MOST_LISTED = 10_000
MOST_QUESTION = 10_000
"""Characters of a question."""


class BraidView:
    """One look at the state."""

    def __init__(
        self,
        corpus: Corpus,
        threads: Mapping[str, Thread],
        crossings: Mapping[str, Crossing],
        bridges: int,
        text_bytes: int,
        recall: Recall,
    ) -> None:
        self._corpus = corpus
        self._threads = threads
        self._crossings = crossings
        self._bridges = bridges
        self._text_bytes = text_bytes
        self._recall = recall

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Answer ``ask``, ``threads``, ``thread``, ``braids``, ``summary``, ``find`` or ``warm``."""
        known: dict[str, tuple[Callable[[Mapping[str, Any]], Any], tuple[str, ...]]] = {
            "ask": (self._ask, ("question", "top")),
            "braids": (self._braids, ("limit",)),
            "find": (self._find, ("id",)),
            "summary": (self._summary, ()),
            "thread": (self._thread, ("id",)),
            "threads": (self._list_threads, ("limit",)),
            "warm": (self._warm, ()),
        }
        if name not in known:
            raise BadInput(f"module braid cannot answer {name!r}.", remedy=f"It answers: {', '.join(known)}.")
        answer, takes = known[name]
        for argument in arguments:
            if argument not in takes:
                remedy = f"It takes: {', '.join(takes) or 'nothing'}."
                raise BadInput(f"query {name} has no argument {argument!r}.", remedy=remedy)
        return answer(arguments)

    def _ask(self, arguments: Mapping[str, Any]) -> Any:
        question = _string(arguments, "question")
        if not question.strip() or len(question) > MOST_QUESTION:
            raise BadInput(f"field question: must hold 1 to {MOST_QUESTION} characters.", remedy="Ask something.")
        return {"answers": self._recall.ask(question, _count(arguments, "top", 5, MOST_ANSWERS))}

    def _warm(self, _: Mapping[str, Any]) -> Any:
        self._recall.warm()
        return {"passages": self._recall.passages}

    def _summary(self, _: Mapping[str, Any]) -> Any:
        return {
            "documents": len(self._corpus.documents),
            "threads": len(self._threads),
            "closed": sum(t.is_closed for t in self._threads.values()),
            "braids": len(self._crossings),
            "bridges": self._bridges,
            "text_bytes": self._text_bytes,
            "passages": self._recall.passages,
        }

    def _find(self, arguments: Mapping[str, Any]) -> Any:
        found = self._threads.get(_string(arguments, "id")) or self._crossings.get(arguments["id"])
        return {"event_id": found.event_id.hex()} if found else {}

    def _list_threads(self, arguments: Mapping[str, Any]) -> Any:
        limit = _count(arguments, "limit", 20, MOST_LISTED)
        threads = sorted(self._threads.values(), key=lambda t: t.id)
        threads.sort(key=lambda t: t.last, reverse=True)
        return {"threads": [_thread_item(t) for t in threads[:limit]]}

    def _thread(self, arguments: Mapping[str, Any]) -> Any:
        thread = self._threads.get(_string(arguments, "id"))
        if thread is None:
            raise BadInput(f"there is no thread {arguments['id']!r}.", remedy="The query threads lists them.")
        documents = sorted(
            (d for d in self._corpus.documents.values() if thread_of(d) == thread.id),
            key=lambda d: (date_of(d.time_ns), d.id),
        )
        braids = [c for c in self._crossings.values() if thread.id in c.thread_ids]
        return {
            **_thread_item(thread),
            "events": thread.event_id.hex(),
            "documents": [
                {"id": d.id, "title": d.title, "date": date_of(d.time_ns), "why": d.event_id.hex()} for d in documents
            ],
            "concepts": [self._label(c) for c in thread.concept_ids],
            "braids": [self._braid_item(c) for c in sorted(braids, key=lambda c: (-c.strength, c.id))],
        }

    def _braids(self, arguments: Mapping[str, Any]) -> Any:
        limit = _count(arguments, "limit", 20, MOST_LISTED)
        strongest = sorted(self._crossings.values(), key=lambda c: (-c.strength, c.id))[:limit]
        return {"braids": [self._braid_item(c) for c in strongest]}

    def _braid_item(self, crossing: Crossing) -> dict[str, Any]:
        return {
            "id": crossing.id,
            "concept": self._label(crossing.concept_id),
            "strength": crossing.strength,
            "threads": [{"id": t, "title": self._threads[t].title} for t in crossing.thread_ids if t in self._threads],
            "why": crossing.event_id.hex(),
        }

    def _label(self, concept_id: str) -> str:
        concept = self._corpus.concepts.get(concept_id)
        return concept.label if concept else concept_id

    def section(self) -> Any:
        """Return threads (with their documents and marking concepts) and braids, sorted by id."""
        members: dict[str, list[str]] = {}
        for document_id in sorted(self._corpus.documents):
            members.setdefault(thread_of(self._corpus.documents[document_id]), []).append(document_id)
        return {
            "threads": [
                {
                    "id": t.id,
                    "title": t.title,
                    "documents": members.get(t.id, []),
                    "closed": t.is_closed,
                    "concepts": list(t.concept_ids),
                    "first": t.first,
                    "last": t.last,
                }
                for t in sorted(self._threads.values(), key=lambda t: t.id)
            ],
            "braids": [
                {"id": c.id, "threads": list(c.thread_ids), "concept": c.concept_id, "strength": c.strength}
                for c in sorted(self._crossings.values(), key=lambda c: c.id)
            ],
        }


def _thread_item(thread: Thread) -> dict[str, Any]:
    return {
        "id": thread.id,
        "title": thread.title,
        "size": thread.position,
        "closed": thread.is_closed,
        "first": thread.first,
        "last": thread.last,
    }


def _string(arguments: Mapping[str, Any], field: str) -> str:
    value = arguments.get(field)
    if not isinstance(value, str):
        raise BadInput(f"field {field}: a string is needed, not {type(value).__name__}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"field {field}: it holds bytes that are no text.", remedy="Write it in UTF-8.") from error
    return value


def _count(arguments: Mapping[str, Any], field: str, default: int, most: int) -> int:
    value = arguments.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise BadInput(f"field {field}: a whole number from 1 to {most} is needed, not {value!r}.")
    return value
