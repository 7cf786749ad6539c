"""The null models: exact sums after rewiring, the configuration model's moments, the tail, Benjamini-Hochberg."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from tori.modules.rewiring import DegreeModel, Rewiring, content_rng, matrix_rng, scaled_poisson_tail
from tori.modules.wormhole.significance import benjamini_hochberg, pair_significance


def random_matrix(seed: int, rows: int = 40, columns: int = 60) -> csr_array:
    rng = np.random.default_rng(seed)
    p = np.outer(rng.uniform(0.3, 1.0, rows), rng.pareto(2.0, columns) + 0.1)
    return csr_array((rng.random((rows, columns)) < np.minimum(0.7, p / p.mean() * 0.12)).astype(np.float32))


@given(st.integers(0, 10_000), st.integers(2, 15), st.integers(2, 15))
@settings(max_examples=60, deadline=None)
def test_rewiring_keeps_every_sum_and_stays_binary(seed: int, rows: int, columns: int) -> None:
    matrix = random_matrix(seed, rows, columns)
    drawn = Rewiring(matrix, np.random.default_rng(seed)).draw()
    assert drawn.shape == matrix.shape
    assert set(drawn.toarray().ravel().tolist()) <= {0.0, 1.0}
    assert drawn.nnz == matrix.nnz
    np.testing.assert_array_equal(drawn.sum(axis=0), matrix.sum(axis=0))
    np.testing.assert_array_equal(drawn.sum(axis=1), matrix.sum(axis=1))


def test_rewiring_visits_every_matrix_with_the_same_sums_equally_often() -> None:
    """Rows 1, 1, 1 and columns 1, 1, 1: the six permutation matrices, 1/6 each."""
    chain = Rewiring(csr_array(np.eye(3, dtype=np.float32)), np.random.default_rng(1))
    counts: dict[bytes, int] = {}
    for _ in range(1200):
        key = chain.draw().toarray().tobytes()
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 6
    assert max(abs(n - 200) for n in counts.values()) < 5 * np.sqrt(200 * 5 / 6)


def test_the_configuration_model_keeps_the_sums_on_average() -> None:
    matrix = random_matrix(3)
    model = DegreeModel(matrix)
    rows = (model.probability * model.column_count).sum(axis=1)
    np.testing.assert_allclose(rows, model.row_degree, rtol=1e-3, atol=1e-3)
    assert model.probability.max() <= 1.0


def test_overlap_moments_and_tail_agree_with_simulation() -> None:
    matrix = random_matrix(5, 30, 400)
    model = DegreeModel(matrix)
    weight = np.log(30 / np.maximum(model.column_degree, 1))
    mean, variance = model.overlap_moments(weight)
    p = model.probability[model.row_class][:, model.column_class]
    w = weight[model.column_class]
    rng = np.random.default_rng(9)
    a, b = 0, 1
    draws = ((rng.random((20_000, 400)) < p[a]) & (rng.random((20_000, 400)) < p[b])) @ w
    i, j = model.row_class[a], model.row_class[b]
    assert draws.mean() == pytest.approx(mean[i, j], rel=0.02)
    assert draws.var() == pytest.approx(variance[i, j], rel=0.05)
    for quantile in (0.9, 0.99):
        value = float(np.quantile(draws, quantile))
        tail = float(scaled_poisson_tail(np.array([value]), mean[[i], [j]], variance[[i], [j]])[0])
        assert tail == pytest.approx((draws >= value).mean(), rel=0.5)
    assert scaled_poisson_tail(np.zeros(1), np.ones(1), np.ones(1))[0] == 1.0


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=30), st.integers(0, 50))
def test_benjamini_hochberg_is_the_step_up_rule(p_values: list[float], untested: int) -> None:
    total = len(p_values) + untested
    ordered = sorted(p_values + [1.0] * untested)
    passing = [p for k, p in enumerate(ordered, 1) if p <= 0.05 * k / total]
    cut = benjamini_hochberg(np.array(p_values), total, 0.05)
    assert sum(p <= cut for p in p_values) == sum(p <= max(passing, default=-1.0) for p in p_values)


@pytest.mark.no_cover
def test_p_values_of_a_rewired_matrix_are_calibrated() -> None:
    """Pooled over 48 null twins the share of eligible pairs below p is at most p, within four standard errors.

    At p = .001 that catches a test which is 1.4 times too bold; the plain scaled-Poisson tail is 1.6 times too bold.
    """
    below: dict[float, int] = {0.001: 0, 0.0001: 0}
    tested = 0
    eligible = ~np.eye(80, dtype=bool)
    for seed in range(48):
        twin = Rewiring(random_matrix(7, 80, 150), np.random.default_rng(seed)).draw()
        result = pair_significance(twin, eligible, 40, content_rng("calibration", str(seed)))
        tested += result.tested
        for p in below:
            below[p] += int((result.p_values <= p).sum())
    for p, count in below.items():
        assert count <= p * tested + 4 * np.sqrt(p * tested), (p, count, tested)
    assert below[0.001] >= 0.4 * 0.001 * tested, "far too careful: the test would find nothing"


def test_the_seed_is_a_function_of_content() -> None:
    assert matrix_rng("x", ["a"], ["b"]).random() == matrix_rng("x", ["a"], ["b"]).random()
    assert matrix_rng("x", ["a"], ["b"]).random() != matrix_rng("x", ["a", "b"], []).random()
