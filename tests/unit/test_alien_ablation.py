"""What each safeguard of the audit costs and buys: predictive tail alone, with overdispersion, with calibration.

``python -m tests.unit.test_alien_ablation`` prints the tables of docs/modules/alien.md.
"""

from __future__ import annotations

import gzip
import json
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from tests.support.modules import Bench, ingested
from tests.support.planted_time import BURST_YEAR, permuted, world
from tests.support.tiny_reader import read
from tori.events.document import Document
from tori.modules.alien import Alien
from tori.modules.alien.audit import audit
from tori.modules.alien.record import AuditInput
from tori.modules.hierarchy import Hierarchy

VARIANTS = {
    "exact tail": (False, False),
    "+ calibration": (False, True),
    "+ overdispersion": (True, False),
    "+ both": (True, True),
}
WORLDS: dict[str, dict[str, float]] = {
    "dates permuted": {"burst": 0.6},
    "still": {},
    "shares spread, rho .01": {"spread": 0.01},
    "shares spread, rho .03": {"spread": 0.03},
    "shares drift, .1 a year": {"drift": 0.1},
    "shares drift, .2 a year": {"drift": 0.2},
    "burst to 30 %": {"burst": 0.3},
    "burst to 50 %": {"burst": 0.5},
    "burst to 50 %, rho .01": {"burst": 0.5, "spread": 0.01},
}


class Count(NamedTuple):
    """Over a number of worlds: those with any alarm, rejected cells, worlds whose burst was found."""

    alarmed: int
    cells: int
    hits: int


def tally(world_name: str, variant: str, worlds: int) -> Count:
    """Audit ``worlds`` worlds of one kind with one variant."""
    overdispersed, calibrated = VARIANTS[variant]
    recipe = WORLDS[world_name]
    alarmed = cells = hits = 0
    for seed in range(worlds):
        data = world(
            seed,
            subjects=300,
            burst=recipe.get("burst", 0.0),
            spread=recipe.get("spread", 0.0),
            drift=recipe.get("drift", 0.0),
        )
        if world_name == "dates permuted":
            data = permuted(data, seed)
        result = audit(data, overdispersed=overdispersed, calibrated=calibrated)
        alarmed += result.alarms > 0
        cells += result.alarms
        hits += any(f.concept_id == "c000" and f.onset == str(BURST_YEAR) for f in result.findings)
    return Count(alarmed, cells, hits)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_variant_breaks_the_promise_on_permuted_dates(variant: str) -> None:
    assert tally("dates permuted", variant, 10).alarmed <= 3  # 99.9 % binomial point of 10 at .05


def test_each_safeguard_removes_alarms_where_shares_wander() -> None:
    cells = [tally("shares spread, rho .03", variant, 8).cells for variant in VARIANTS]
    assert cells[0] > cells[1] > cells[3]
    assert cells[0] > 4 * cells[2] > 4 * cells[3]


def test_the_safeguards_cost_little_power() -> None:
    exact, both = (tally("burst to 50 %", variant, 10).hits for variant in ("exact tail", "+ both"))
    assert both >= exact - 1 >= 8


def read_peps(path: Path) -> AuditInput:
    """Return the PEPs' dates, concepts (tests' small reader) and communities, as the alien module would hold them."""
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    documents = [
        Document(
            r["id"],
            r["title"],
            r["text"],
            int(datetime.fromisoformat(r["time"]).timestamp()) * 10**9,
            links=tuple(r["links"]),
        )
        for r in rows
    ]
    told = ingested(documents)
    events = told + read(documents, told)
    mapped = Bench(Hierarchy())
    nodes = mapped.feed(events)
    for task in Hierarchy.tasks:
        nodes += mapped.scan(task)
    alien = Bench(Alien())
    alien.feed(events + nodes)
    return msgspec.msgpack.decode(alien.module.prepare("alien_audit"), type=AuditInput)


def print_worlds() -> None:
    print("| world (40 of each) | " + " | ".join(VARIANTS) + " |\n|---|" + "---|" * len(VARIANTS))
    for name, recipe in WORLDS.items():
        counts = [tally(name, variant, 40) for variant in VARIANTS]
        shown = [f"{c.alarmed} / {c.cells}" + (f" / {c.hits}" if "burst" in recipe else "") for c in counts]
        print(f"| {name} | " + " | ".join(shown) + " |")


def print_peps(path: Path) -> None:
    data = read_peps(path)
    rows = []
    for variant, (overdispersed, calibrated) in VARIANTS.items():
        result = audit(data, overdispersed=overdispersed, calibrated=calibrated)
        twins = [permuted(data, seed) for seed in range(40)]
        alarmed = sum(audit(t, overdispersed=overdispersed, calibrated=calibrated).alarms > 0 for t in twins)
        rows.append(f"| {variant} | {result.alarms} | {len(result.findings)} | {alarmed} of 40 |")
    print("\n| PEPs | rejected cells | findings | permuted twins with any alarm |\n|---|---|---|---|")
    print("\n".join(rows))
    began = time.perf_counter()
    result = audit(data)
    print(
        f"\n{result.tested} cells in {time.perf_counter() - began:.2f} s\n\n| onset | last | finding | p | |\n|---|---|---|---|---|"
    )
    for f in result.findings:
        print(f"| {f.onset} | {f.last} | {f.label} | {f.p:.1e} | {f.context} |")


if __name__ == "__main__":
    print_worlds()
    peps = Path(__file__).parents[2].parent / "shared" / "data" / "peps.jsonl.gz"
    if peps.exists():
        print_peps(peps)
