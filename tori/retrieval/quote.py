"""Chooses what to quote: the sentence that answers, apart from the passage that was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tori.retrieval.passage import sentences
from tori.retrieval.term import terms

if TYPE_CHECKING:
    import numpy as np

LIMIT = 320
"""Most characters of a quotation."""
_LEAST = 10
_FULL = 60
"""Characters from which a sentence is not discounted for being short."""
_MOST_SENTENCES = 64


class Quote(NamedTuple):
    """``text[start : start + len(words)] == words``."""

    start: int
    words: str


def best_sentence(
    text: str,
    spans: Sequence[tuple[int, int]],
    question: Sequence[str],
    idf: Callable[[str], float],
    similarity: Callable[[list[str]], np.ndarray],
) -> Quote:
    """Return the sentence within ``spans`` of ``text`` (best passage first) closest to the question.

    ``question`` are its terms, ``similarity`` gives the cosine of sentences to it. A sentence scores the share of the
    question's idf it covers, plus its cosine, times how much it reads like a sentence; earlier passages and sentences win ties.
    """
    found = [(s, e) for start, end in spans for s, e in sentences(text, start, end)][:_MOST_SENTENCES]
    candidates = [_bounded(text, s, e) for s, e in found if e - s >= _LEAST] or [_bounded(text, *spans[0])]
    weights = {t: idf(t) for t in set(question)}
    total = sum(sorted(weights.values())) or 1.0
    cosines = similarity([text[s:e] for s, e in candidates])
    best, quote = -1.0, candidates[0]
    for (start, end), cosine in zip(candidates, cosines.tolist(), strict=True):
        held = set(terms(text[start:end]))
        covered = sum(sorted(weights[t] for t in weights if t in held)) / total
        score = round((covered + max(cosine, 0.0)) * _prose(text[start:end]), 6)
        if score > best:
            best, quote = score, (start, end)
    return Quote(quote[0], text[quote[0] : quote[1]])


def _bounded(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the bounds cut to ``LIMIT`` characters, at a blank where there is one."""
    if end - start <= LIMIT:
        return start, end
    cut = max(text.rfind(" ", start, start + LIMIT), text.rfind("\n", start, start + LIMIT))
    cut = cut if cut > start else start + LIMIT
    return start, start + len(text[start:cut].rstrip())


def _prose(sentence: str) -> float:
    """Return the share of letters and white space, squared (low for tables, code, ruled lines), short ones discounted."""
    share = sum(c.isalpha() or c.isspace() for c in sentence) / max(len(sentence), 1)
    return share * share * min(1.0, (len(sentence) + _FULL / 2) / _FULL)
