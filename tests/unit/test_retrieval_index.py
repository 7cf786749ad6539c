"""Lexical and dense index, fusion and PageRank against plain definitions; growth and removal change nothing."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from tori.retrieval.activation import base_level
from tori.retrieval.dense import DenseIndex
from tori.retrieval.fusion import reciprocal_rank, top_rows
from tori.retrieval.graph import pagerank, transition
from tori.retrieval.lexical import LexicalIndex
from tori.retrieval.term import terms

ROWS = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=12), min_size=1, max_size=12)


def bm25(rows: list[list[str]], query: list[str], k1: float = 1.2, b: float = 0.75) -> list[float]:
    """BM25 as its formula stands, one row at a time."""
    mean = sum(map(len, rows)) / len(rows) or 1.0
    scores = []
    for row in rows:
        score = 0.0
        for term in query:
            df = sum(term in r for r in rows)
            idf = math.log(1 + (len(rows) - df + 0.5) / (df + 0.5))
            tf = row.count(term)
            score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(row) / mean))
        scores.append(score)
    return scores


@given(ROWS, st.lists(st.sampled_from("abcdefgz"), max_size=5))
def test_scores_are_bm25(rows: list[list[str]], query: list[str]) -> None:
    index = LexicalIndex()
    for row in rows:
        index.add(row)
    assert index.scores(query) == pytest.approx(bm25(rows, query), abs=1e-9)


@given(ROWS, ROWS, st.sets(st.integers(0, 11)), st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4))
def test_growth_and_removal_equal_one_build(
    first: list[list[str]], second: list[list[str]], removed: set[int], query: list[str]
) -> None:
    grown = LexicalIndex()
    for row in first:
        grown.add(row)
        grown.scores(query)
    for number in removed & set(range(len(first))):
        grown.remove(number)
        grown.remove(number)
    for row in second:
        grown.add(row)
    kept = [r for i, r in enumerate(first) if i not in removed] + second
    once = LexicalIndex()
    for row in kept:
        once.add(row)
    alive = grown.alive()
    assert alive.sum() == len(kept)
    assert grown.scores(query)[alive].tobytes() == once.scores(query).tobytes()
    assert not grown.scores(query)[~alive].any()
    assert grown.idf("a") == once.idf("a")


@given(ROWS, st.sets(st.sampled_from("abcdefgz"), max_size=4))
def test_rows_with_all(rows: list[list[str]], asked: set[str]) -> None:
    index = LexicalIndex()
    for row in rows:
        index.add(row)
    index.remove(0)
    expected = [i for i, r in enumerate(rows) if i and asked and asked <= set(r)]
    assert index.rows_with_all(asked).tolist() == expected
    assert len(index) == len(rows)


def test_terms_are_stemmed_without_stop_words() -> None:
    assert terms("The locks of Locking, it's the GIL's") == ["lock", "lock", "s", "gil", "s"]


def test_dense_scores_are_cosines_whatever_the_row() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(50, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = DenseIndex(16)
    for start in range(0, 50, 7):
        index.add(rows[start : start + 7])
    assert len(index) == 50
    assert np.allclose(index.scores(rows[3]), rows @ rows[3], atol=1e-6)
    other = DenseIndex(16)
    other.add(rows[::-1])
    assert other.scores(rows[3])[::-1].tobytes() == index.scores(rows[3]).tobytes()


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=20), st.integers(1, 25))
def test_top_rows_is_a_sort(scores: list[float], limit: int) -> None:
    expected = sorted((i for i, s in enumerate(scores) if s > 0), key=lambda i: (-scores[i], i))[:limit]
    assert top_rows(np.asarray(scores), limit).tolist() == expected


def test_ties_follow_the_keys() -> None:
    assert top_rows(np.ones(4), 3, np.asarray([7, 1, 9, 2])).tolist() == [1, 3, 0]


def test_reciprocal_rank_fusion() -> None:
    first, second = np.asarray([0.2, 0.0, 0.9]), np.asarray([3.0, 0.0, 0.0])
    fused = reciprocal_rank([(np.asarray([2, 0]), first, 1.0), (np.asarray([0]), second, 0.5)])
    assert fused.tolist() == [1 / 12 + 0.5 / 11, 0.0, 1 / 11]


def test_equal_scores_share_a_rank() -> None:
    scores = np.asarray([1.0, 2.0, 1.0, 1.0, 0.5])
    assert reciprocal_rank([(top_rows(scores, 5), scores, 1.0)]).tolist() == [1 / 12, 1 / 11, 1 / 12, 1 / 12, 1 / 15]


def _random_kind(rng: np.random.Generator, size: int) -> csr_array:
    return csr_array(np.triu(rng.random((size, size)) * (rng.random((size, size)) < 0.3), 1))


def test_transition_normalises_each_kind_of_edge() -> None:
    many = csr_array(np.asarray([[0, 5.0, 5.0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    few = csr_array(np.asarray([[0, 0, 0, 1.0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2.0]]))
    walk = transition([(many, 1.0), (few, 0.25)]).toarray()
    assert walk[:, 0] == pytest.approx([0, 0.4, 0.4, 0.2])
    assert walk[:, 1].sum() == 0
    assert walk[:, 3] == pytest.approx([0, 0, 0, 1])


@pytest.mark.parametrize("seed", range(5))
def test_pagerank_is_the_stationary_distribution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    walk = transition([(_random_kind(rng, 9), 1.0), (_random_kind(rng, 9), 0.3)])
    seeds = rng.random(9) * (rng.random(9) < 0.5)
    seeds[0] = 1.0
    restart = seeds / seeds.sum()
    dense = 0.5 * walk.toarray()
    full = dense + np.outer(restart, 1.0 - dense.sum(axis=0))
    values, vectors = np.linalg.eig(full)
    exact = np.real(vectors[:, np.argmax(np.real(values))])
    assert pagerank(walk, seeds) == pytest.approx(exact / exact.sum(), abs=1e-4)
    assert pagerank(walk, seeds).sum() == pytest.approx(1.0)


def test_activation() -> None:
    assert base_level([0.0]) == 0.0
    assert base_level([3.0]) == pytest.approx(math.log(0.5))
    assert base_level([0.0, 3.0]) == pytest.approx(math.log(1.5))
    assert base_level([8.0], decay=1.0, unit=2.0) == pytest.approx(math.log(1 / 5))
    assert base_level([-1.0]) == 0.0
    assert base_level([]) == -math.inf


def test_counts_survive_many_merges() -> None:
    index = LexicalIndex()
    rng = np.random.default_rng(3)
    rows = [[f"t{i}" for i in rng.integers(0, 40, 15)] for _ in range(300)]
    for row in rows:
        index.add(row)
        index.idf("t1")
    df = Counter(t for r in rows for t in set(r))
    assert index.idf("t1") == math.log1p((300 - df["t1"] + 0.5) / (df["t1"] + 0.5))
    assert len(index._segments) < 8
