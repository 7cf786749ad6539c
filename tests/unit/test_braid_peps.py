"""Recall on real text: the PEPs that speak of the GIL, each a distractor for the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import Bench, ingested
from tori.events.document import Document
from tori.modules.braid import Braid
from tori.sources.jsonl import JsonLines


@pytest.fixture(scope="module")
def memory(shared_data: Path) -> tuple[Bench, dict[str, Document]]:
    every = [d for d in JsonLines(shared_data / "peps.jsonl.gz").documents() if isinstance(d, Document)]
    chosen = [d for d in every if "GIL" in d.text or "optional" in d.title.lower()]
    found = Bench(Braid())
    found.feed(ingested(chosen))
    return found, {d.id: d for d in chosen}


def ask(found: Bench, question: str) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = found.module.query("ask", {"question": question})["answers"]
    return answers


@pytest.mark.parametrize(
    ("question", "expected", "within"),
    [
        ("why was the GIL made optional", "pep-0703", 1),
        ("one GIL per interpreter", "pep-0684", 3),
        ("objects whose reference count never changes", "pep-0683", 3),
    ],
)
def test_the_right_document_is_found_and_quoted(
    memory: tuple[Bench, dict[str, Document]], question: str, expected: str, within: int
) -> None:
    found, documents = memory
    assert len(documents) > 30
    answers = ask(found, question)
    assert expected in [a["id"] for a in answers[:within]]
    for answer in answers:
        text = documents[answer["id"]].text
        assert text[answer["start"] : answer["start"] + len(answer["quote"])] == answer["quote"]
        assert len(answer["quote"]) >= 10
        passage = answer["passage"]
        assert 0 <= passage["start"] < passage["end"] <= len(text)


def test_a_restored_memory_answers_the_same(memory: tuple[Bench, dict[str, Document]]) -> None:
    found, _ = memory
    living = ask(found, "memory management without a lock")
    copy = Bench(Braid())
    copy.module.restore(found.module.snapshot())
    assert ask(copy, "memory management without a lock") == living


def test_an_idle_module_loads_no_science() -> None:
    code = (
        "import sys\nfrom tori.modules.braid import Braid\nb = Braid()\nb.restore(b.snapshot())\nb.query('summary', {})\n"
        "print([m for m in ('numpy', 'scipy', 'tokenizers', 'Stemmer') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
