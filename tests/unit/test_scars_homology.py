"""Loops of a metric space: known answers, short cycles that represent them, the cloud they come from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tori.modules.scars.cloud import coordinates, distances, elliptical_twin, landmarks, ppmi, smoothed, start_block
from tori.modules.scars.homology import Loop, canonical_cycle, loops, short_cycle, widest


def ring(count: int) -> NDArray[np.float32]:
    angle = 2 * np.pi * np.arange(count) / count
    return distances(np.stack([np.cos(angle), np.sin(angle)], axis=1))


def random_space(seed: int, count: int) -> NDArray[np.float32]:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    square = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    return np.sqrt(square).astype(np.float32)


def test_a_square_is_born_with_its_sides_and_dies_with_its_diagonal() -> None:
    found = loops(ring(4), cocycles=True)
    assert [(round(x.birth, 4), round(x.death, 4)) for x in found] == [(1.4142, 2.0)]
    assert short_cycle(ring(4), found[0], 8) in ([0, 1, 2, 3], [0, 3, 2, 1], [1, 2, 3, 0], [3, 0, 1, 2], [3, 2, 1, 0])


def test_points_keep_their_names() -> None:
    """An uneven space: the loop is 1-2-3-4, the far point 0 has no part in it."""
    points = np.array([[9.0, 9.0], [0.0, 0.0], [1.0, 0.0], [1.1, 1.0], [0.0, 1.2]])
    distance = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2)).astype(np.float32)
    (loop,) = loops(distance, cocycles=True)
    assert loop.birth == pytest.approx(1.2, abs=1e-5)
    cycle = short_cycle(distance, loop, 8)
    assert cycle is not None
    assert sorted(cycle) == [1, 2, 3, 4]


def test_a_ring_needs_few_points_when_its_scale_rises_and_none_when_too_few_are_allowed() -> None:
    distance = ring(40)
    (loop,) = loops(distance, cocycles=True)
    assert loop.persistence > 1.4
    cycle = short_cycle(distance, loop, 8)
    assert cycle is not None
    assert 4 <= len(cycle) <= 8
    assert short_cycle(distance, loop, 3) is None
    assert short_cycle(distance, Loop(0.1, 0.2, frozenset()), 8) is None
    assert widest(distance) == loop.persistence
    assert widest(random_space(0, 3)) == 0.0


@given(st.integers(0, 10_000), st.integers(8, 24))
@settings(max_examples=40, deadline=None)
def test_a_short_cycle_is_a_simple_cycle_that_the_class_cannot_do_without(seed: int, count: int) -> None:
    """Its edges are no longer than death, it crosses the cocycle an odd number of times, no triangle can do so."""
    distance = random_space(seed, count)
    for loop in loops(distance, cocycles=True):
        cycle = short_cycle(distance, loop, count)
        assert cycle is not None
        assert len(set(cycle)) == len(cycle) >= 4
        edges = [(min(e), max(e)) for e in itertools.pairwise([*cycle, cycle[0]])]
        assert max(distance[e] for e in edges) < loop.death
        assert sum(e in loop.cocycle for e in edges) % 2 == 1


@given(st.lists(st.integers(0, 99), min_size=4, max_size=8, unique=True), st.integers(0, 7), st.booleans())
def test_a_cycle_has_one_name_whatever_its_start_and_direction(members: list[int], turn: int, is_flipped: bool) -> None:
    names = [f"d{m:02d}" for m in members]
    turned = names[turn % len(names) :] + names[: turn % len(names)]
    if is_flipped:
        turned.reverse()
    assert canonical_cycle(turned) == canonical_cycle(names)
    assert canonical_cycle(names)[0] == min(names)


def test_coordinates_agree_with_the_exact_decomposition() -> None:
    rng = np.random.default_rng(2)
    binary = csr_array((rng.random((60, 90)) < 0.15).astype(np.float32))
    points = coordinates(binary, 8, start_block(60, 8, rng))
    u, s, _ = np.linalg.svd(ppmi(binary).toarray(), full_matrices=False)
    exact = u[:, :8] * s[:8]
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosine, expected = points @ points.T, exact @ exact.T
    assert np.corrcoef(cosine.ravel(), expected.ravel())[0, 1] > 0.95


def test_landmarks_cover_and_twins_keep_the_ellipsoid() -> None:
    points = smoothed(np.random.default_rng(4).normal(size=(120, 5)), 1)
    distance = distances(points)
    chosen = landmarks(distance, 30)
    assert len(set(chosen.tolist())) == 30
    assert distance[:, chosen].min(axis=1).max() < distance.max() / 2
    np.testing.assert_array_equal(landmarks(distance[:5, :5], 30), np.arange(5))
    twin = elliptical_twin(points * [3, 2, 1, 1, 1], np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(twin, axis=1), 1.0)
    assert twin[:, 0].var() > twin[:, 4].var()
