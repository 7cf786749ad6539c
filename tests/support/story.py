"""Findings of a running system by kind, and the check that the story behind one ends in the texts it quotes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tori.cli.ask import resolve
from tori.client import SystemClient
from tori.events.mind import DocumentIngested

MANY = 10_000


def findings(client: SystemClient, questions: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Return every id that a person can ask ``tori why`` about, by kind, in a fixed order; a kind without findings is empty."""

    def ids(module: str, name: str, items: str, key: str, limit: int = MANY) -> list[str]:
        return sorted(str(row[key]) for row in client.query(module, name, {"limit": limit})[items])

    answers = [client.query("braid", "ask", {"question": q})["answers"] for q in questions]
    return {
        "alien": ids("alien", "aliens", "items", "alien_id"),
        "answer": sorted({str(a["why"]) for found in answers for a in found}),
        "braid": ids("braid", "braids", "braids", "id"),
        "bridge": ids("wormhole", "bridges", "items", "wormhole_id"),
        "concept": sorted(str(row["id"]) for row in client.query("reader", "concepts", {"limit": MANY})),
        "gap": ids("scars", "gaps", "items", "scar_id"),
        "map node": ids("hierarchy", "map", "nodes", "id"),
        "thread": ids("braid", "threads", "threads", "id"),
    }


def check_story(client: SystemClient, identifier: str) -> int:
    """Check what ``tori why`` shows of one id; return how many quotations were found verbatim in the texts it ends in.

    Raises AssertionError when a cause is missing, when the story ends in anything but documents, or when a quotation,
    of the finding or of what it follows from, does not stand where it says in the text of one of those documents.
    """
    rows: dict[str, Mapping[str, Any]] = {row["id"]: row for row in client.why(resolve(client, identifier))}
    texts = {}
    for row in rows.values():
        assert set(row["causes"]) <= rows.keys(), f"{identifier}: a cause of {row['type']} {row['id']} is not told"
        if not row["causes"]:
            assert row["type"] == DocumentIngested.__name__, (
                f"{identifier}: its story ends in {row['type']} {row['id']}"
            )
            texts[row["id"]] = row["payload"]["text"]
    assert texts, f"{identifier}: no document stands behind it"
    quotes = [quote for row in rows.values() for quote in row["payload"].get("evidence") or ()]
    for quote in quotes:
        assert quote["event_id"] in texts, f"{identifier}: the document of {quote} is not behind it"
        text = texts[quote["event_id"]]
        end = quote["start"] + len(quote["quote"])
        assert quote["quote"], f"{identifier}: {quote['document_id']} is quoted with nothing"
        assert text[quote["start"] : end] == quote["quote"], f"{identifier}: {quote} is not in its document"
    return len(quotes)
