"""The story behind findings on real text: every one ends in documents that hold what it quotes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.local_backend import LocalClient
from tests.support.story import check_story, findings
from tori.cli.ask import resolve
from tori.events.document import Document
from tori.local import LocalSystem
from tori.sources.jsonl import JsonLines

EVERY = 2
LONGEST = 20_000
CHOSEN = 20
QUESTIONS = (
    "why was the GIL made optional",
    "how are type annotations evaluated",
    "what does a release manager do",
    "how does pattern matching bind names",
)
QUOTING = ("alien", "bridge", "concept", "gap", "map node")
"""Kinds whose own event quotes; a braid and a thread are told by what they follow from, an answer quotes itself."""


def _opening(document: Document) -> Document:
    """Return a document cut to its first LONGEST characters: enough to think about, affordable."""
    sections = tuple(s for s in document.sections if s.end <= LONGEST)
    return msgspec.structs.replace(document, text=document.text[:LONGEST], sections=sections)


@pytest.fixture(scope="module")
def peps(shared_data: Path) -> Iterator[LocalClient]:
    """A settled mind over every second PEP."""
    every = [d for d in JsonLines(shared_data / "peps.jsonl.gz").documents() if isinstance(d, Document)]
    with LocalSystem() as mind:
        mind.ingest(_opening(d) for d in every[::EVERY])
        mind.quiesce()
        yield LocalClient(mind)


@pytest.mark.no_cover
def test_twenty_random_findings_end_in_the_documents_they_quote(peps: LocalClient) -> None:
    found = findings(peps, QUESTIONS)
    assert {kind for kind, ids in found.items() if not ids} == set(), "every kind of finding exists in this corpus"
    draw = random.Random(20)
    chosen = {draw.choice(ids): kind for kind, ids in found.items()}
    rest = sorted((i, kind) for kind, ids in found.items() for i in ids if i not in chosen)
    chosen |= dict(draw.sample(rest, CHOSEN - len(chosen)))
    assert len(chosen) == CHOSEN
    for identifier, kind in chosen.items():
        quotes = check_story(peps, identifier)
        assert quotes or kind not in QUOTING, f"{kind} {identifier} quotes nothing"


def test_every_bridge_gap_alarm_and_map_node_does(peps: LocalClient) -> None:
    found = findings(peps)
    for kind in ("alien", "bridge", "gap", "map node"):
        for identifier in found[kind]:
            assert check_story(peps, identifier), f"{kind} {identifier} quotes nothing"


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_quotation_of_an_answer_stands_in_the_document_its_why_names(peps: LocalClient, question: str) -> None:
    answers = peps.query("braid", "ask", {"question": question})["answers"]
    assert answers
    for answer in answers:
        (row,) = peps.why(resolve(peps, answer["why"]))
        assert (row["type"], row["causes"]) == ("DocumentIngested", [])
        text = row["payload"]["text"]
        assert text[answer["start"] : answer["start"] + len(answer["quote"])] == answer["quote"] != ""
