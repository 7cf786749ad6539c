"""Years of dated notes as text, one of them with a burst: what the whole mind reads."""

from __future__ import annotations

from datetime import UTC, datetime

from tori.events.document import Document

YEARS = range(2001, 2013)
BURST = 2009
PER_YEAR = 12
TEXT = "An opening line.\n\nThe {0} came up again. We settle the {1}s here, as agreed."


def burst(last: int = YEARS[-1], *, dated: bool = True) -> list[Document]:
    """Twelve documents a year that rotate through six terms; in 2009 ten of them speak of the steering council."""
    documents = []
    for year in range(YEARS[0], last + 1):
        for i in range(PER_YEAR):
            term = f"topic {'abcdef'[i % 6]}"
            other = "steering council" if year == BURST and i < 10 else f"topic {'abcdef'[(i + year) % 6]}"
            time_ns = int(datetime(year, i + 1, 3, tzinfo=UTC).timestamp()) * 10**9
            name = f"note-{year}-{i:02d}"
            documents.append(Document(name, name, TEXT.format(term, other), time_ns if dated else None))
    return documents
