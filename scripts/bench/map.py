"""How good is the map? Draw it over a source and judge it from the texts alone.

    python -m scripts.bench.map --source ../shared/data/peps.jsonl.gz --json
    python -m scripts.bench.map --source python:

The yardstick: in at least 80 % of the nodes *every* term of the label (terms are joined by " / ") stands, as a whole phrase
in any case, in the titles or texts of at least half of the node's documents, at three times its rate in the corpus or more.
Nothing the module counted is used: only its answers (labels, members) and the documents as the source gave them.

``--insert`` also holds one document in twenty back, draws the map, lets them join, and compares the result
with the map drawn from everything. Needs neither Ray nor a running system; the reader runs in this process.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import gammaln

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.modules import Bench, ingested
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import DocumentEmbedded, DocumentIngested
from tori.modules.hierarchy import Hierarchy
from tori.modules.reader import Reader
from tori.sources import Refusal, open_source

TASK = "hierarchy_optimization"
COVERAGE, LIFT, GOAL = 0.5, 3.0, 0.8


class Texts:
    """The documents as the source gave them, searched without any index."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.lower = {d.id: " ".join(f"{d.title}\n{d.text}".lower().split()) for d in documents}
        self._with: dict[str, set[str]] = {}

    def having(self, term: str) -> set[str]:
        """Return the ids of the documents in which ``term`` stands as a whole phrase."""
        wanted = " ".join(term.lower().split())
        if wanted not in self._with:
            pattern = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
            self._with[wanted] = {d for d, text in self.lower.items() if wanted in text and pattern.search(text)}
        return self._with[wanted]

    def judge(self, label: str, members: Sequence[str]) -> list[tuple[str, float, float]]:
        """Return (term, share of members that have it, lift over the corpus) for each term of a label."""
        found = []
        for term in label.split(" / "):
            having = self.having(term)
            share = len(having & set(members)) / len(members)
            found.append((term, share, share / max(len(having) / len(self.lower), 1e-12)))
        return found


def read(documents: Sequence[Document]) -> tuple[list[Event], list[Event]]:
    """Return (DocumentIngested events, what the reader says about them after its canonical pass)."""
    events = ingested(documents)
    reader = Bench(Reader())
    said = reader.feed(events)
    for task in Reader.tasks:
        said += reader.scan(task)
    return events, said


def drawn(events: Iterable[Event]) -> tuple[Bench, dict[str, float]]:
    """Return a hierarchy fed with ``events`` that has drawn its map, and the seconds of each step."""
    bench = Bench(Hierarchy())
    bench.feed(events)
    started = time.perf_counter()
    data = bench.module.prepare(TASK)
    prepared = time.perf_counter()
    result = Hierarchy.run(TASK, data)
    ran = time.perf_counter()
    bench.commit(bench.module.conclude(TASK, result, bench.context()))
    concluded = time.perf_counter()
    bench.module.validate()
    return bench, {"prepare": prepared - started, "run": ran - prepared, "conclude": concluded - ran}


def labels(bench: Bench, texts: Texts) -> dict[str, Any]:
    """Return the yardstick: shares of nodes whose label holds, overall and by scale, and the nodes that fail."""
    by_scale: dict[int, list[bool]] = {}
    failing = []
    for node in bench.module.query("map", {})["nodes"]:
        members = bench.module.query("node", {"id": node["id"]})["members"]
        terms = texts.judge(node["label"], members)
        holds = all(share >= COVERAGE and lift >= LIFT for _, share, lift in terms)
        by_scale.setdefault(node["scale"], []).append(holds)
        if not holds:
            failing.append({"label": node["label"], "size": node["size"], "terms": [list(t) for t in terms]})
    verdicts = [v for found in by_scale.values() for v in found]
    return {
        "nodes": len(verdicts),
        "named": sum(verdicts),
        "named_share": round(sum(verdicts) / max(len(verdicts), 1), 4),
        "named_by_scale": {str(s): f"{sum(v)}/{len(v)}" for s, v in sorted(by_scale.items(), reverse=True)},
        "failing": failing,
    }


def agreement(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the adjusted mutual information of two labellings, with the exact expectation under chance.

    Vinh, Epps, Bailey 2010, JMLR 11, eq. 24a, arithmetic normalisation.
    """
    (_, left), (_, right) = np.unique(a, return_inverse=True), np.unique(b, return_inverse=True)
    count, rows, columns = len(left), np.bincount(left), np.bincount(right)
    joint = np.zeros((len(rows), len(columns)))
    np.add.at(joint, (left, right), 1)
    (i, j), cells = np.nonzero(joint), joint[joint > 0]
    information = float((cells / count * np.log(count * cells / (rows[i] * columns[j]))).sum())
    expected = 0.0
    for r, times_r in zip(*np.unique(rows, return_counts=True), strict=True):
        for c, times_c in zip(*np.unique(columns, return_counts=True), strict=True):
            x = np.arange(max(1, r + c - count), min(r, c) + 1)
            log_ways = _log_choose(r, x) + _log_choose(count - r, c - x) - _log_choose(count, c)
            terms = x / count * np.log(count * x / (r * c)) * np.exp(log_ways)
            expected += float(times_r * times_c * terms.sum())
    mean = sum(float(-(s / count * np.log(s / count)).sum()) for s in (rows, columns)) / 2
    return 1.0 if mean - expected < 1e-12 else (information - expected) / (mean - expected)


def _log_choose(n: Any, k: Any) -> Any:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def insertion(events: Sequence[Event], said: Sequence[Event], whole: Bench, run_s: float) -> dict[str, Any]:
    """Return how interim joins of one document in twenty compare with the map drawn from everything."""
    held = {e.payload.document_id for e in events if zlib.crc32(e.payload.document_id.encode()) % 20 == 0}
    about = [e for e in said if isinstance(e.payload, DocumentEmbedded)]
    rest = [e for e in said if not isinstance(e.payload, DocumentEmbedded)]
    known = [e for e in [*events, *about] if e.payload.document_id not in held]
    late = [e for e in [*events, *about] if e.payload.document_id in held]
    bench, _ = drawn([*known, *rest])
    started = time.perf_counter()
    bench.feed(late, batch_size=1)
    seconds = time.perf_counter() - started
    bench.module.validate()
    documents = [e.payload.document_id for e in events if isinstance(e.payload, DocumentIngested)]
    out: dict[str, Any] = {
        "held_back": len(held),
        "joined": bench.module.query("summary", {})["attached"],
        "ms_a_document": round(1000 * seconds / max(len(held), 1), 3),
        "cheaper_than_a_pass": round(run_s / max(seconds / max(len(held), 1), 1e-9), 1),
    }
    for scale in ("top", "leaf"):
        interim, rebuilt = (dict(zip(documents, _places(b, documents, scale), strict=True)) for b in (bench, whole))
        out[f"ami_to_rebuild_{scale}"] = round(agreement(list(interim.values()), list(rebuilt.values())), 4)
        twin = {
            node: Counter(rebuilt[d] for d in documents if interim[d] == node and d not in held).most_common(1)
            for node in set(interim.values())
        }
        agree = sum(rebuilt[d] == twin[interim[d]][0][0] for d in held if twin[interim[d]])
        out[f"joined_as_rebuilt_{scale}"] = round(agree / max(len(held), 1), 4)
    return out


def _places(bench: Bench, documents: Sequence[str], scale: str) -> list[str]:
    paths = [bench.module.query("locate", {"document_id": d})["path"] for d in documents]
    return [(path[0] if scale == "top" else path[-1])["id"] if path else "" for path in paths]


def show(bench: Bench, node: dict[str, Any], depth: int = 0) -> None:
    """Print one node and what is inside it."""
    print(f"{'    ' * depth}{node['size']:5d}  {node['label']}  |  {node['title']}")
    for child in bench.module.query("node", {"id": node["id"]})["children"]:
        show(bench, child, depth + 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="what `tori ingest` takes: a folder, a .jsonl(.gz), python:...")
    parser.add_argument("--json", action="store_true", help="print figures only, as JSON")
    parser.add_argument("--insert", action="store_true", help="also measure interim joins")
    arguments = parser.parse_args()
    documents = [d for d in open_source(arguments.source).documents() if not isinstance(d, Refusal)]
    started = time.perf_counter()
    events, said = read(documents)
    read_s = time.perf_counter() - started
    bench, seconds = drawn([*events, *said])
    report: dict[str, Any] = {"source": arguments.source, "summary": bench.module.query("summary", {})}
    report["seconds"] = {k: round(v, 3) for k, v in {"read": read_s, **seconds}.items()}
    report |= labels(bench, Texts(documents))
    report["goal_reached"] = report["named_share"] >= GOAL
    if arguments.insert:
        report["insert"] = insertion(events, said, bench, seconds["run"] + seconds["conclude"])
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        for node in bench.module.query("map", {"scale": bench.module.query("summary", {})["scales"]})["nodes"]:
            show(bench, node)
        print(json.dumps({k: v for k, v in report.items() if k != "failing"}, indent=2))
    return 0 if report["goal_reached"] else 1


if __name__ == "__main__":
    sys.exit(main())
