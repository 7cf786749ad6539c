"""Which phrases are one: spellings (``type-checker``, ``Type checker``), plurals, and acronyms with one meaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

SINGULAR_SHARE = 0.15
"""A plural becomes a singular only if the singular has at least this share of its uses: ``windows`` is no ``window``."""
CLEAR_SHARE = 0.8
"""An acronym has one meaning when this share of the documents that define it agree."""
LEAST_DEFINITIONS = 2
DEFINED_SHARE = 0.1
"""Of the documents that use an acronym, this share must define it before its meaning holds for those that do not."""


def spelling_key(phrase: str) -> str:
    """Return what spellings of one phrase share: no case, no hyphens, no spaces (identifiers keep their underscores)."""
    return phrase.casefold().replace("-", "").replace(" ", "")


def singulars(key: str) -> list[str]:
    """Return the singulars that a spelling key may be the regular plural of, the likeliest first."""
    if len(key) < 4 or not key.endswith("s") or key.endswith(("ss", "us", "is")):
        return []
    if key.endswith("ies"):
        return [key[:-3] + "y", key[:-1]]
    if key.endswith(("ches", "shes", "sses", "xes", "zes")):
        return [key[:-2], key[:-1]]
    return [key[:-1]]


def representatives(totals: Mapping[str, int]) -> dict[str, str]:
    """Return {phrase: the spelling that stands for it}, given how often each phrase is used.

    Singulars are only ever attested ones. The most used spelling stands for all; ties go to the smaller string.
    """
    key_totals: Counter[str] = Counter()
    for phrase, total in totals.items():
        key_totals[spelling_key(phrase)] += total
    root = {key: _root(key, key_totals) for key in key_totals}
    best: dict[str, tuple[int, str]] = {}
    for phrase, total in totals.items():
        key = spelling_key(phrase)
        if root[key] == key:
            rank = (-total, phrase)
            best[key] = min(best.get(key, rank), rank)
    return {phrase: best[root[spelling_key(phrase)]][1] for phrase in totals}


def _root(key: str, totals: Mapping[str, int]) -> str:
    for singular in singulars(key):
        if singular in totals and totals[singular] >= SINGULAR_SHARE * totals[key]:
            return _root(singular, totals)
    return key


def clear_acronyms(
    defined: Iterable[Sequence[tuple[str, str]]], frequency: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, list[tuple[str, float]]]]:
    """Return ({short: long} where the meaning is clear, {short: [(long, share)]} where it is not).

    ``defined`` holds each document's pairs, ``frequency`` the documents that use a short form. A meaning is clear when
    enough of those that use it define it, and agree; one that a single document gives is its own, not the corpus's.
    """
    meanings: dict[str, dict[str, Counter[str]]] = {}
    for pairs in defined:
        for short, long in pairs:
            meanings.setdefault(short, {}).setdefault(_stem(long), Counter())[long] += 1
    clear: dict[str, str] = {}
    torn: dict[str, list[tuple[str, float]]] = {}
    for short, stems in sorted(meanings.items()):
        longs = {min(forms, key=lambda f: (len(f), f)): sum(forms.values()) for forms in stems.values()}
        total = sum(longs.values())
        ranked = sorted(longs.items(), key=lambda item: (-item[1], item[0]))
        enough = max(LEAST_DEFINITIONS, DEFINED_SHARE * frequency.get(short, 0))
        if total >= enough and ranked[0][1] >= CLEAR_SHARE * total:
            clear[short] = ranked[0][0]
        elif len(ranked) > 1:
            torn[short] = [(long, n / total) for long, n in ranked]
    return clear, torn


def _stem(long: str) -> str:
    key = spelling_key(long)
    return (singulars(key) or [key])[0]
