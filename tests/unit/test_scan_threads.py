"""The same input gives the same bytes, however many threads linear algebra has."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tori.modules.base import Module
from tori.modules.corpus import Corpus, DocumentMeta
from tori.modules.hierarchy.graph import DECIMALS, MIN_EMBEDDING_COSINE, _vectors, nearest
from tori.modules.scan import scan

DOCUMENTS, DIMENSIONS = 700, 256


class Counting(Module):
    """Says how many threads it may use."""

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        return msgspec.msgpack.encode(sorted({found["num_threads"] for found in threadpool_info()}))


def test_a_scan_computes_on_one_thread_and_leaves_the_others_to_whoever_has_them() -> None:
    with threadpool_limits(limits=2):
        assert msgspec.msgpack.decode(scan(Counting, "count", b"")) == [1]
        assert {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"} == {2}


@pytest.fixture
def corpus() -> tuple[Corpus, list[DocumentMeta]]:
    """Documents near two dozen points, so that there are many near neighbours at all distances."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((24, DIMENSIONS))
    rows = centres[rng.integers(0, 24, DOCUMENTS)] + rng.standard_normal((DOCUMENTS, DIMENSIONS))
    corpus = Corpus()
    order = [DocumentMeta(f"d{number:04d}", "t", b"") for number in range(DOCUMENTS)]
    corpus.vectors = {d.id: row.astype("<f2").tobytes() for d, row in zip(order, rows, strict=True)}
    return corpus, order


def test_similarities_are_exact_in_whatever_order_they_are_added(corpus: tuple[Corpus, list[DocumentMeta]]) -> None:
    known, rows = _vectors(*corpus)
    assert len(known) == DOCUMENTS
    shuffled = np.random.default_rng(1).permutation(DIMENSIONS)
    assert np.array_equal(rows @ rows.T, rows[:, shuffled] @ rows[:, shuffled].T)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 10**-DECIMALS / 10


def test_neighbours_do_not_depend_on_threads(corpus: tuple[Corpus, list[DocumentMeta]]) -> None:
    _, rows = _vectors(*corpus)

    def found(threads: int) -> list[Any]:
        with threadpool_limits(limits=threads):
            return nearest(rows, [-1] * len(rows), MIN_EMBEDDING_COSINE)

    assert found(1) == found(2)
