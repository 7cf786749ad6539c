"""The documents of a chaos run: which client slot puts in which, the same every time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tests.chaos.history import Item
from tests.support.system import TOPICS
from tori.events.document import Document

BAD_EVERY = 9
"""Every ninth batch has a document that must be refused."""


def slot_documents(slot: int, count: int) -> list[Document]:
    """Return the documents of one client slot; ids of different slots differ."""
    documents = []
    for number in range(count):
        name, first, second, third, fourth = TOPICS[(slot + number) % len(TOPICS)]
        other = TOPICS[(number * 7 + slot + 1) % len(TOPICS)]
        text = (
            f"Note {slot}-{number}: the {first} matters most when the {second} is dry. Then {third} twice. "
            f"A {fourth} follows the {first}, and the {other[2]} is compared with it."
        )
        links = (f"s{slot}-{number - 4:04d}",) if number >= 4 else ()
        time_ns = int((20 + number % 30) * 365.25 * 86_400) * 1_000_000_000
        documents.append(Document(f"s{slot}-{number:04d}", f"{name} note {number}", text, time_ns, "chaos", "", links))
    return documents


def slot_batches(slot: int, count: int, size: int = 3) -> list[list[Document]]:
    """Return a slot's documents in batches, some with a document that is refused."""
    documents = slot_documents(slot, count)
    batches = [documents[i : i + size] for i in range(0, count, size)]
    for number in range(0, len(batches), BAD_EVERY):
        batches[number] = [*batches[number], Document(f"bad-{slot}-{number}", "", " ", None, "chaos")]
    return batches


def document_items(batch: Sequence[Document]) -> list[Item]:
    """Return what a batch asks for."""
    return [Item(f"{d.id}@{d.content_hash().hex()[:24]}", d.id) for d in batch]


def refused_items(batch: Sequence[Document], refused: Sequence[tuple[str, str]]) -> list[str]:
    """Return the items of a batch whose documents a receipt refused."""
    ids = {document_id for document_id, _ in refused}
    return [item.id for item, d in zip(document_items(batch), batch, strict=True) if d.id in ids]


def encode(batch: Sequence[Document]) -> bytes:
    return msgspec.msgpack.encode(list(batch))
