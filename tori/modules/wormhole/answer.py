"""The wormhole module's answers as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tori.modules.corpus import Corpus
from tori.modules.wormhole.scan import Pair
from tori.modules.wormhole.state import ScanConcluded, Standing


def rounded(value: float) -> float:
    """Return ``value`` with 6 significant digits."""
    return float(f"{value:.6g}")


def section_item(pair: Pair) -> dict[str, Any]:
    """Return a bridge as the digest sees it."""
    return {
        "id": pair.id,
        "documents": [pair.a, pair.b],
        "strength": rounded(pair.strength),
        "p_value": rounded(pair.p_value),
        "distance": rounded(pair.distance),
    }


def bridges_answer(
    fdr: float,
    scan: ScanConcluded | None,
    standing: Sequence[Standing],
    verdicts: Mapping[str, bool],
    corpus: Corpus,
    limit: int,
) -> dict[str, Any]:
    """Return the bridges, strongest first, and what was only suggested, each list at most ``limit`` long."""
    items = [_item(s, verdicts, corpus) for s in standing if s.is_created]
    suggestions = [_item(s, verdicts, corpus) for s in standing if not s.is_created]
    return {
        "scanned": scan.scanned if scan else 0,
        "tested": scan.tested if scan else 0,
        "significant": scan.significant if scan else 0,
        "fdr": fdr,
        "threshold": rounded(scan.threshold) if scan else 0.0,
        "total": len(items),
        "items": items[:limit],
        "suggestions": suggestions[:limit],
        "reason": "" if items else _why_none(scan),
    }


def _why_none(scan: ScanConcluded | None) -> str:
    if scan is None:
        return "no scan has run yet"
    return scan.reason or "every bridge found was rejected"


def _item(standing: Standing, verdicts: Mapping[str, bool], corpus: Corpus) -> dict[str, Any]:
    accepted = verdicts.get(standing.id, False)
    return {
        "wormhole_id": standing.id,
        "concept_a": standing.a,
        "concept_b": standing.b,
        "title_a": _title(standing.a, corpus),
        "title_b": _title(standing.b, corpus),
        "status": "accepted" if accepted else "created" if standing.is_created else "suggested",
        "strength": rounded(standing.strength),
        "p_value": rounded(standing.p_value),
        "distance": rounded(standing.distance),
        "reason": standing.reason,
        "evidence": [
            {
                "document_id": e.document_id,
                "title": _title(e.document_id, corpus),
                "quote": e.quote,
                "start": e.start,
                "event_id": e.event_id.hex(),
            }
            for e in standing.evidence
        ],
        "event_id": standing.event_id.hex(),
    }


def _title(document_id: str, corpus: Corpus) -> str:
    meta = corpus.documents.get(document_id)
    return meta.title if meta is not None else document_id
