"""One passage from each end of a bridge that shows what the ends share."""

from __future__ import annotations

from collections.abc import Sequence

from tori.events.mind import DocumentIngested, Evidence
from tori.modules.base import Context
from tori.modules.corpus import DocumentMeta
from tori.modules.quotation import opening, quotation, stands


def bridge_evidence(ends: Sequence[DocumentMeta], shared: Sequence[str], context: Context) -> tuple[Evidence, ...]:
    """Return one verbatim quotation for each of ``ends``, both around a shared term when one stands in both texts.

    ``shared`` are labels, the most telling first. A text that holds none of them word for word is quoted by its opening.
    """
    texts = [_text(end, context) for end in ends]
    common = [term for term in shared if all(stands(term, text) for text in texts)]
    evidence = []
    for end, text in zip(ends, texts, strict=True):
        quoted = quotation(text, common or shared) or opening(text)
        evidence.append(Evidence(end.id, end.event_id, quoted.quote, quoted.start))
    return tuple(evidence)


def _text(end: DocumentMeta, context: Context) -> str:
    payload = context.read(end.event_id).payload
    return payload.text if isinstance(payload, DocumentIngested) else ""
