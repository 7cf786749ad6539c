"""The module ``hierarchy``: keeps the map of the corpus and tells others when it changes.

A pass (task ``hierarchy_optimization``) draws the whole map from a corpus snapshot; between passes a new document joins the
leaf of its neighbours. Node ids are made of the members, so a node that gains or loses a document in a pass is
another node; ConceptModified speaks of the same members under a new name or parent, or of an interim join.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from tori.errors import BadInput
from tori.events.envelope import Event
from tori.events.mind import (
    AlienDetected,
    AlienResolved,
    ConceptAdded,
    ConceptLinked,
    ConceptModified,
    ConceptRemoved,
    DocumentEmbedded,
    DocumentIngested,
    Evidence,
)
from tori.modules.base import Context, Fact, Module
from tori.modules.corpus import Corpus
from tori.modules.hierarchy import naming
from tori.modules.hierarchy.draft import DraftNode, MapDraft, MapInput, draw
from tori.modules.hierarchy.placement import place
from tori.modules.hierarchy.view import MapNode, MapView, describe

TASK = "hierarchy_optimization"
SYNONYM = "synonym"
MAX_SYNONYMS = 100_000
"""Pairs kept; later ones are ignored (the map is drawn without them)."""
MAX_ALIENS = 10_000
"""Active alarms kept; the oldest gives way."""
MAX_CAUSES = 16
"""Documents named as causes of a node, the quoted ones first."""
TEXT_CACHE = 32
"""Texts held while a pass is concluded."""


class _State(msgspec.Struct, array_like=True):
    corpus: bytes
    nodes: list[MapNode]
    synonyms: list[tuple[str, str]]
    aliens: list[tuple[str, str]]
    """(alarm id, concept, node or document id), oldest first."""


class Hierarchy(Module):
    """Maps documents into nested, named communities."""

    name: ClassVar[str] = "hierarchy"
    inputs: ClassVar[tuple[type, ...]] = (*Corpus.inputs, ConceptLinked, AlienDetected, AlienResolved)
    tasks: ClassVar[tuple[str, ...]] = (TASK,)

    def __init__(self) -> None:
        self.corpus = Corpus()
        self.nodes: dict[str, MapNode] = {}
        self.synonyms: set[tuple[str, str]] = set()
        self.marks: dict[str, str] = {}
        self._view: MapView | None = None
        self._named_key: list[tuple[DraftNode, list[bytes]]] = []
        self._named: dict[str, str] = {}

    @property
    def view(self) -> MapView:
        """The nodes of now, indexed."""
        if self._view is None:
            self._view = MapView(dict(self.nodes))
        return self._view

    # ------------------------------------------------------------------ facts

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        """Let new documents join the leaf of their neighbours, and its ancestors, until the next pass."""
        if not self.nodes:
            return []
        leaf_of = self.view.leaf_of
        ingested = {e.payload.document_id: e for e in batch if isinstance(e.payload, DocumentIngested)}
        vectors = {e.payload.document_id: e.payload.vector for e in batch if isinstance(e.payload, DocumentEmbedded)}
        newcomers: dict[str, tuple[str, ...]] = {}
        for document in [*ingested, *vectors]:
            if document not in leaf_of and (document in ingested or document in self.corpus.documents):
                newcomers[document] = self._links(document, ingested)
        if not newcomers:
            return []
        joined: dict[str, dict[str, float]] = {}
        for document, (leaf, weight) in place(newcomers, vectors, self.corpus, leaf_of).items():
            for node in self.view.path(leaf):
                joined.setdefault(node.id, {})[document] = weight
        return [self._join(self.nodes[name], joined[name], ingested, context) for name in sorted(joined)]

    def _links(self, document: str, ingested: Mapping[str, Event]) -> tuple[str, ...]:
        event = ingested.get(document)
        if event is not None and isinstance(event.payload, DocumentIngested):
            return event.payload.links
        return self.corpus.documents[document].links

    def _join(
        self, node: MapNode, newcomers: Mapping[str, float], ingested: Mapping[str, Event], context: Context
    ) -> Event:
        members = dict(zip(node.documents, node.weights, strict=True)) | dict(newcomers)
        sources = tuple(sorted(members))
        causes = [ingested[d].id if d in ingested else self.corpus.documents[d].event_id for d in sorted(newcomers)]
        payload = ConceptModified(
            node.id,
            node.label,
            node.parent,
            node.scale,
            sources,
            tuple(members[s] for s in sources),
            node.parent,
            ("sources",),
        )
        return context.event(payload, key=node.id, causes=causes)

    def apply(self, fact: Fact) -> None:
        if not isinstance(fact, Event):
            return
        payload = fact.payload
        if self.corpus.apply(fact):
            if isinstance(payload, ConceptRemoved):
                self.synonyms = {pair for pair in self.synonyms if payload.concept_id not in pair}
        elif isinstance(payload, ConceptAdded | ConceptModified):
            self._set(payload, fact.id)
        elif isinstance(payload, ConceptRemoved):
            self.nodes.pop(payload.concept_id, None)
            self._view = None
        elif isinstance(payload, ConceptLinked):
            self._link(payload)
        elif isinstance(payload, AlienDetected):
            self.marks.pop(payload.alien_id, None)
            self.marks[payload.alien_id] = payload.concept_id
            if len(self.marks) > MAX_ALIENS:
                del self.marks[next(iter(self.marks))]
        elif isinstance(payload, AlienResolved):
            self.marks.pop(payload.alien_id, None)

    def _set(self, payload: ConceptAdded | ConceptModified, event_id: bytes) -> None:
        old = self.nodes.get(payload.concept_id)
        attached: set[str] = set()
        if old is not None:
            attached = (set(old.attached) | (set(payload.sources) - set(old.documents))) & set(payload.sources)
        self.nodes[payload.concept_id] = MapNode(
            payload.concept_id,
            payload.label,
            payload.parent_id,
            payload.scale,
            payload.sources,
            payload.weights,
            event_id,
            tuple(sorted(attached)),
        )
        self._view = None

    def _link(self, payload: ConceptLinked) -> None:
        """Keep a synonym; weight 0, or another kind, takes it back."""
        pair = (min(payload.concept_a, payload.concept_b), max(payload.concept_a, payload.concept_b))
        if payload.weight <= 0 or payload.kind != SYNONYM:
            self.synonyms.discard(pair)
        elif len(self.synonyms) < MAX_SYNONYMS:
            self.synonyms.add(pair)

    # ------------------------------------------------------------------ state

    def standing(self) -> Iterator[bytes]:
        yield from self.corpus.event_ids()
        yield from (n.event_id for n in self.nodes.values())

    def snapshot(self) -> bytes:
        nodes = [self.nodes[k] for k in sorted(self.nodes)]
        return msgspec.msgpack.encode(
            _State(self.corpus.snapshot(), nodes, sorted(self.synonyms), list(self.marks.items()))
        )

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=_State)
        self.corpus = Corpus.from_snapshot(state.corpus)
        self.nodes = {n.id: n for n in state.nodes}
        self.synonyms = set(state.synonyms)
        self.marks = dict(state.aliens)
        self._view = None

    def section(self) -> list[list[Any]]:
        """Return the tree: [id, label, scale, parent, documents] of every node, sorted by id."""
        return [[n.id, n.label, n.scale, n.parent, list(n.documents)] for _, n in sorted(self.nodes.items())]

    def validate(self) -> None:
        leaves = [n for n in self.nodes.values() if n.id not in self.view.children]
        placed = [d for n in leaves for d in n.documents]
        assert len(placed) == len(set(placed)), "a document is in two leaves"
        for node in self.nodes.values():
            assert list(node.documents) == sorted(set(node.documents)), f"{node.id}: documents are not a sorted set"
            assert len(node.weights) == len(node.documents), f"{node.id}: not one weight a document"
            if node.parent is not None:
                parent = self.nodes.get(node.parent)
                assert parent is not None, f"{node.id}: its parent {node.parent} is not in the map"
                assert parent.scale == node.scale + 1, f"{node.id}: not one scale below its parent"
            children = self.view.children.get(node.id)
            if children:
                inside = {d for child in children for d in self.nodes[child].documents}
                assert inside == set(node.documents), f"{node.id}: its children do not cover it exactly"

    # ------------------------------------------------------------------- pass

    def prepare(self, task: str) -> bytes:
        if task != TASK:
            return super().prepare(task)
        return msgspec.msgpack.encode(MapInput(self.corpus.snapshot(), sorted(self.synonyms)))

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        if task != TASK:
            return super().run(task, data)
        return msgspec.msgpack.encode(draw(msgspec.msgpack.decode(data, type=MapInput)))

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        """Return what differs between the drawn map and the present one: removals, then additions and changes, coarse first."""
        if task != TASK:
            return super().conclude(task, result, context)
        draft = msgspec.msgpack.decode(result, type=MapDraft)
        drawn = [n for n in draft.nodes if all(d in self.corpus.documents for d in n.documents)]
        read = self._reader(context)
        label_of = self._labels(drawn, read)
        kept = {n.id for n in drawn}
        facts: list[Fact] = [self._removed(self.nodes[k], context) for k in sorted(self.nodes) if k not in kept]
        for node in drawn:
            facts += self._difference(node, label_of[node.id], read, context)
        return facts

    def _reader(self, context: Context) -> naming.ReadText:
        @lru_cache(maxsize=TEXT_CACHE)
        def read(document: str) -> str | None:
            try:
                payload = context.read(self.corpus.documents[document].event_id).payload
            except BadInput:
                return None
            return payload.text if isinstance(payload, DocumentIngested) else None

        return read

    def _labels(self, drawn: Sequence[DraftNode], read: naming.ReadText) -> dict[str, str]:
        """Return the checked labels; those of the last pass when neither nodes nor texts changed since (a cache, no state)."""
        key = [(n, [self.corpus.documents[d].event_id for d in n.documents]) for n in drawn]
        if key != self._named_key:
            titles = {d: meta.title for d, meta in self.corpus.documents.items()}
            self._named_key, self._named = key, naming.labels(drawn, titles, read)
        return self._named

    def _difference(self, node: DraftNode, label: str, read: naming.ReadText, context: Context) -> list[Event]:
        old = self.nodes.get(node.id)
        fields = (node.id, label, node.parent, node.scale, node.documents, node.weights)
        changed: tuple[str, ...] = ()
        if old is not None:
            before = (old.label, old.parent, old.documents, old.weights)
            after = (label, node.parent, node.documents, node.weights)
            names = ("label", "parent_id", "sources", "weights")
            changed = tuple(n for n, b, a in zip(names, before, after, strict=True) if b != a)
            if not changed:
                return []
        central = MapNode(*fields, b"").central()
        evidence = naming.quotes(label, central, self.corpus.documents, read)
        payload = ConceptModified(*fields, old.parent, changed, evidence) if old else ConceptAdded(*fields, evidence)
        return [context.event(payload, key=node.id, causes=self._causes(evidence, central))]

    def _causes(self, evidence: Sequence[Evidence], central: Sequence[str]) -> list[bytes]:
        """Return the DocumentIngested ids of the quoted documents, then of the most central others."""
        quoted = [e.document_id for e in evidence]
        named = [*quoted, *(d for d in central if d not in quoted)][: max(MAX_CAUSES, len(quoted))]
        return [self.corpus.documents[d].event_id for d in named]

    def _removed(self, node: MapNode, context: Context) -> Event:
        known = [d for d in node.central() if d in self.corpus.documents][:MAX_CAUSES]
        payload = ConceptRemoved(
            node.id, node.label, node.parent, node.scale, node.documents, node.weights, "the map was drawn anew"
        )
        return context.event(payload, key=node.id, causes=[self.corpus.documents[d].event_id for d in known])

    # -------------------------------------------------------------- questions

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Answer ``map``, ``node``, ``locate``, ``parent``, ``find`` or ``summary``."""
        questions: dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, type], tuple[str, ...]]] = {
            "find": (self._find, {"id": str}, ("id",)),
            "locate": (self._locate, {"document_id": str}, ("document_id",)),
            "map": (self._map, {"scale": int, "limit": int}, ()),
            "node": (self._node, {"id": str}, ("id",)),
            "parent": (self._parent, {"concept_id": str}, ("concept_id",)),
            "summary": (self._summary, {}, ()),
        }
        if name not in questions:
            raise BadInput(f"module hierarchy cannot answer {name!r}.", remedy=f"It answers: {', '.join(questions)}.")
        answer, allowed, required = questions[name]
        given = {k: v for k, v in arguments.items() if v is not None}
        for key, value in given.items():
            if key not in allowed:
                raise BadInput(
                    f"{name} takes no argument {key!r}.", remedy=f"It takes: {', '.join(allowed) or 'none'}."
                )
            if not isinstance(value, allowed[key]) or isinstance(value, bool):
                raise BadInput(f"{name}: {key} must be {allowed[key].__name__}, not {type(value).__name__}.")
        for key in required:
            if key not in given:
                raise BadInput(f"{name} needs the argument {key!r}.")
        return answer(given)

    def _describe(self, nodes: Sequence[MapNode]) -> list[dict[str, Any]]:
        aliens = self.view.aliens(self.marks.values(), self.corpus.concepts)
        return [describe(n, self.corpus, aliens.get(n.id, 0)) for n in nodes]

    def _map(self, given: dict[str, Any]) -> dict[str, Any]:
        scale, limit = given.get("scale"), given.get("limit")
        if limit is not None and limit < 0:
            raise BadInput(f"map: limit must not be negative, it is {limit}.")
        if scale is not None and self.nodes and not 1 <= scale <= self.view.top_scale:
            raise BadInput(f"the map has no scale {scale}.", remedy=f"It has 1 to {self.view.top_scale}.")
        nodes = list(self.nodes.values()) if scale is None else self.view.cut(scale)
        nodes.sort(key=lambda n: (-n.scale, -len(n.documents), n.id))
        return {"nodes": self._describe(nodes[:limit]), "scales": self.view.top_scale, "total": len(nodes)}

    def _node(self, given: dict[str, Any]) -> dict[str, Any]:
        node = self.nodes.get(given["id"])
        if node is None:
            raise BadInput(f"the map has no node {given['id']!r}.", remedy="The question `map` lists them.")
        children = [self.nodes[c] for c in self.view.children.get(node.id, ())]
        children.sort(key=lambda n: (-len(n.documents), n.id))
        return self._describe([node])[0] | {
            "children": self._describe(children),
            "path": [n.id for n in reversed(self.view.path(node.id))],
            "members": node.central(),
        }

    def _locate(self, given: dict[str, Any]) -> dict[str, Any]:
        document_id = given["document_id"]
        if document_id not in self.corpus.documents:
            raise BadInput(f"no document {document_id!r} is known.")
        path = self.view.path(self.view.leaf_of.get(document_id))
        return {"document_id": document_id, "path": self._describe(path[::-1])}

    def _parent(self, given: dict[str, Any]) -> dict[str, Any]:
        concept_id = given["concept_id"]
        if concept_id in self.nodes:
            return {"concept_id": concept_id, "parent": self.nodes[concept_id].parent}
        if concept_id not in self.corpus.concepts:
            raise BadInput(f"no concept {concept_id!r} is known.")
        return {"concept_id": concept_id, "parent": self.view.home(self.corpus.concepts[concept_id])}

    def _find(self, given: dict[str, Any]) -> dict[str, str]:
        node = self.nodes.get(given["id"])
        return {"event_id": node.event_id.hex()} if node else {}

    def _summary(self, given: dict[str, Any]) -> dict[str, int | float]:
        known = len(self.corpus.documents)
        leaf_of = self.view.leaf_of
        attached = {d for n in self.nodes.values() for d in n.attached}
        loose = len(attached) + sum(1 for d in self.corpus.documents if d not in leaf_of)
        return {
            "documents": known,
            "nodes": len(self.nodes),
            "top_nodes": sum(n.parent is None for n in self.nodes.values()),
            "leaves": len(self.nodes) - len(self.view.children),
            "scales": self.view.top_scale,
            "attached": len(attached),
            "drift": round(loose / known, 6) if known else 0.0,
        }
