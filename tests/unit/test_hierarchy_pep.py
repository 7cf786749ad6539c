"""The map of real text: every third PEP, read by the real reader, judged from the texts alone."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from tests.support.modules import Bench, ingested
from tests.support.planted_map import TASK
from tori.events.document import Document
from tori.modules.hierarchy import Hierarchy
from tori.modules.reader import Reader

PEPS = Path(__file__).parents[2].parent / "shared" / "data" / "peps.jsonl.gz"


@pytest.mark.skipif(
    not PEPS.exists() and os.environ.get("CI") != "true", reason="../shared/data/peps.jsonl.gz is absent"
)
def test_four_of_five_nodes_have_labels_that_hold_literally() -> None:
    with gzip.open(PEPS, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][::3]
    documents = [Document(r["id"], r["title"], r["text"][:20_000], links=tuple(r["links"])) for r in rows]
    events = ingested(documents)
    reader, bench = Bench(Reader()), Bench(Hierarchy())
    said = reader.feed(events) + [e for task in Reader.tasks for e in reader.scan(task)]
    bench.feed([*events, *said])
    bench.scan(TASK)
    bench.module.validate()
    texts = {d.id: " ".join(f"{d.title} {d.text}".lower().split()) for d in documents}
    nodes = bench.module.query("map", {})["nodes"]
    assert len(nodes) >= 10
    verdicts = [holds(n["label"], bench.module.nodes[n["id"]].documents, texts) for n in nodes]
    assert sum(verdicts) >= 0.8 * len(verdicts), [n["label"] for n, ok in zip(nodes, verdicts, strict=True) if not ok]


def holds(label: str, members: tuple[str, ...], texts: dict[str, str]) -> bool:
    """Return whether each term stands in half of the members at three times its rate in all texts."""
    for term in label.split(" / "):
        pattern = re.compile(rf"(?<!\w){re.escape(term.lower())}(?!\w)")
        having = {d for d, text in texts.items() if pattern.search(text)}
        share = len(having & set(members)) / len(members)
        if share < 0.5 or share < 3 * len(having) / len(texts):
            return False
    return True
