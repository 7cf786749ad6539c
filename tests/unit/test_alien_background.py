"""The statistics under the alarms: exactness against enumeration, validity, and where each safeguard bites."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, false_discovery_control, hypergeom

from tori.modules.alien.background import (
    Background,
    Calibration,
    benjamini_hochberg,
    beta_binomial_tail,
    outlying,
)


def past(counts: list[int], sizes: list[int], subjects: int = 1) -> Background:
    background = Background(subjects)
    for hits, size in zip(counts, sizes, strict=True):
        background.observe(np.full(subjects, float(hits)), size, np.zeros(subjects, dtype=np.bool_))
    return background


@given(st.integers(1, 60), st.data())
def test_the_tail_is_scipys_beta_binomial(m: int, data: st.DataObject) -> None:
    a = data.draw(st.floats(0.2, 20))
    b = data.draw(st.floats(0.2, 50))
    x = data.draw(st.integers(min(m, int(m * a / (a + b)) + 1), m))
    ours = beta_binomial_tail(np.array([float(x)]), m, np.array([a]), np.array([b]))[0]
    assert ours == pytest.approx(betabinom.sf(x - 1, m, a, b), rel=1e-6)


@given(st.integers(0, 30), st.integers(1, 40), st.data())
def test_without_overdispersion_it_is_fishers_exact_test(k: int, extra: int, data: st.DataObject) -> None:
    n = k + extra
    m = data.draw(st.integers(1, 30))
    x = data.draw(st.integers(1, m))
    background = past([k], [n])
    p, _ = background.surprise(np.array([float(x)]), m, overdispersed=False)
    if x > m * (k + 1) / (n + 1):
        assert p[0] == pytest.approx(hypergeom.sf(x - 1, n + m, k + x, m), rel=1e-9)
    else:
        assert p[0] == 1.0


def test_an_even_past_has_no_overdispersion_and_a_bursty_one_has() -> None:
    assert past([3] * 20, [10] * 20).overdispersion()[0] == 0.0
    assert past([0, 0, 0, 9] * 5, [10] * 20).overdispersion()[0] > 0.3


def test_overdispersion_is_recovered_from_simulated_cells() -> None:
    rng = np.random.default_rng(5)
    background = Background(400)
    for _ in range(60):
        share = rng.beta(0.2 * 19, 0.8 * 19, 400)
        background.observe(rng.binomial(25, share).astype(float), 25, np.zeros(400, dtype=np.bool_))
    assert background.overdispersion().mean() == pytest.approx(0.05, abs=0.006)


def test_overdispersion_never_makes_an_alarm_easier() -> None:
    rng = np.random.default_rng(3)
    background = Background(200)
    for _ in range(12):
        background.observe(rng.binomial(20, 0.1, 200).astype(float), 20, np.zeros(200, dtype=np.bool_))
    hits = rng.binomial(20, 0.3, 200).astype(float)
    wide, _ = background.surprise(hits, 20)
    plain, _ = background.surprise(hits, 20, overdispersed=False)
    assert (wide >= plain).all()
    assert (wide > plain).any()


def test_a_forgotten_cell_leaves_no_trace() -> None:
    rng = np.random.default_rng(1)
    cells = [(rng.binomial(9, 0.4, 5).astype(float), 9, rng.random(5) < 0.2) for _ in range(4)]
    kept, slid = Background(5), Background(5)
    for cell in cells:
        slid.observe(*cell)
    slid.observe(*cells[0], -1)
    for cell in cells[1:]:
        kept.observe(*cell)
    assert slid.documents == kept.documents
    np.testing.assert_allclose(slid.overdispersion(), kept.overdispersion())
    np.testing.assert_array_equal(slid.count, kept.count)


def test_outlying_cells_teach_the_share_but_not_the_noise() -> None:
    calm = past([1] * 10, [10] * 10)
    calm.observe(np.array([10.0]), 10, outlying(np.array([1e-9])))
    assert calm.count[0] == 20
    assert calm.overdispersion()[0] == 0.0


def test_calibration_leaves_valid_p_values_alone_and_tames_optimistic_ones() -> None:
    honest, optimistic = Calibration(), Calibration()
    assert honest.exponents().tolist() == [1.0] * 4
    uniform = np.random.default_rng(2).random(200_000)
    band = np.full(len(uniform), 2)
    honest.observe(uniform, band)
    optimistic.observe(uniform**2, band)
    assert honest.exponents()[2] > 0.97
    g = optimistic.exponents()[2]
    assert g == pytest.approx(0.5, abs=0.03)
    assert 0.0009 < ((uniform**2) ** g <= 0.001).mean() < 0.0016


def test_calibration_is_the_conformal_p_value_at_its_level() -> None:
    calibration = Calibration()
    scores = np.array([0.008] * 40 + [0.5] * 959)
    calibration.observe(scores, np.zeros(999, dtype=np.intp))
    assert 0.01 ** calibration.exponents()[0] == pytest.approx((1 + 40) / (1 + 999))


def test_bands_are_calibrated_apart() -> None:
    calibration = Calibration()
    calibration.observe(np.array([1e-4] * 50 + [0.9] * 50), np.array([0] * 50 + [1] * 50))
    g = calibration.exponents()
    assert g[0] < 1.0
    assert g[1] == 1.0


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=60))
def test_the_step_up_rule_is_scipys(p: list[float]) -> None:
    values = np.array(p)
    threshold = benjamini_hochberg(values, len(p), 0.05)
    expected = false_discovery_control(values) <= 0.05
    np.testing.assert_array_equal(values <= threshold, expected)


def test_untold_tests_count_in_the_step_up_rule() -> None:
    p = np.array([0.004])
    assert benjamini_hochberg(p, 10, 0.05) == 0.004
    assert benjamini_hochberg(p, 100, 0.05) == -1.0
    assert benjamini_hochberg(np.array([]), 10, 0.05) == -1.0
