"""Do bridges and gaps keep their promise where there is nothing to find? Scan null twins of a real corpus.

    python -m scripts.bench.null_twins --source ../shared/data/peps.jsonl.gz --twins 100 --kind bridges
    python -m scripts.bench.null_twins --source ../shared/data/peps.jsonl.gz --twins 40 --kind gaps

A twin keeps every document and every concept as often as they occur, the links, the vectors and the map, and shares
concepts at random (checkerboard swaps, not the chain of the code under test). Any finding in a twin is false. The
promise is P(any finding) <= 0.05 for both, so the share of twins with one is reported with its exact 95 % interval
(Clopper and Pearson, Biometrika 26 (1934)). Needs no running system.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy.stats import beta

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.modules import Bench, ingested
from tests.support.tiny_corpus import rewired_table
from tori.events.document import Document
from tori.events.envelope import Event
from tori.modules.corpus import Corpus
from tori.modules.hierarchy import Hierarchy
from tori.modules.reader import Reader
from tori.modules.scars.scan import ScanInput as ScarInput
from tori.modules.scars.scan import scan as scar_scan
from tori.modules.scars.settings import ScarSettings
from tori.modules.wormhole import Wormhole
from tori.modules.wormhole.scan import ScanInput, scan
from tori.sources import open_source


def followed(source: str, limit: int | None) -> Wormhole:
    """Return a wormhole module that has followed the reader and the hierarchy over ``source``."""
    documents = [d for d in open_source(source, limit=limit).documents() if isinstance(d, Document)]
    events: list[Event] = list(ingested(documents))
    for module in (Reader(), Hierarchy()):
        bench = Bench(module)
        said = bench.feed(events)
        for task in type(module).tasks:
            said += bench.scan(task)
        events += said
    wormhole = Wormhole()
    Bench(wormhole).feed(events)
    return wormhole


def twin_of(corpus: Corpus, seed: int) -> Corpus:
    """Return the corpus with its concepts shared at random."""
    table = {c.id: dict.fromkeys(c.sources, 1.0) for c in corpus.concepts.values()}
    twin = Corpus.from_snapshot(corpus.snapshot())
    for concept_id, spread in rewired_table(table, seed).items():
        sources = tuple(sorted(spread))
        twin.concepts[concept_id] = msgspec.structs.replace(
            twin.concepts[concept_id], sources=sources, weights=(1.0,) * len(sources)
        )
    return twin


def findings(kind: str, wormhole: Wormhole, corpus: Corpus) -> dict[str, int]:
    """Return what one scan tested and found; for bridges every significant pair counts, similar or not."""
    if kind == "gaps":
        gaps = scar_scan(ScarInput(corpus.snapshot(), [], ScarSettings()))
        return {"tested": gaps.tested, "found": len(gaps.gaps)}
    given = msgspec.msgpack.decode(wormhole.prepare("wormhole_scan"), type=ScanInput)
    bridges = scan(msgspec.structs.replace(given, corpus=corpus.snapshot()))
    return {"tested": bridges.tested, "found": bridges.significant}


def interval(hits: int, total: int) -> list[float]:
    """Return the exact 95 % interval of a share."""
    low = float(beta.ppf(0.025, hits, total - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, total - hits)) if hits < total else 1.0
    return [round(low, 4), round(high, 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--twins", type=int, default=40)
    parser.add_argument("--kind", choices=("bridges", "gaps"), default="bridges")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    wormhole = followed(chosen.source, chosen.limit)
    corpus = wormhole.corpus
    started = time.process_time()
    real = findings(chosen.kind, wormhole, corpus)
    seconds = time.process_time() - started
    twins = [findings(chosen.kind, wormhole, twin_of(corpus, chosen.seed + k)) for k in range(chosen.twins)]
    found = np.array([t["found"] for t in twins])
    hits = int((found > 0).sum())
    answer: dict[str, Any] = {
        "kind": chosen.kind,
        "source": chosen.source,
        "documents": len(corpus.documents),
        "concepts": len(corpus.concepts),
        "real": {**real, "cpu_s": round(seconds, 2)},
        "twins": chosen.twins,
        "twins_with_a_finding": hits,
        "share": round(hits / max(chosen.twins, 1), 4),
        "interval_95": interval(hits, chosen.twins),
        "false_findings": int(found.sum()),
    }
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
