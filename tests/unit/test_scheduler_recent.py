"""What is remembered of runs that ended: bounded, fair, and the same whether it was lived through or made of a snapshot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tori.scheduler.recent import Recent

TOTAL, MOST = 12, 4
puts = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcdefgh")), max_size=80)


def put(recent: Recent[str], key: int, group: str) -> None:
    recent.put(f"{group}{key}", f"{group}{key}", group, MOST)


@given(puts, st.integers(0, 80))
def test_a_copy_made_of_the_items_goes_on_alike(lived: list[tuple[int, str]], cut: int) -> None:
    recent: Recent[str] = Recent(TOTAL)
    for key, group in lived[:cut]:
        put(recent, key, group)
    again: Recent[str] = Recent(TOTAL)
    for item in recent:
        put(again, int(item[1:]), item[0])
    for key, group in lived[cut:]:
        put(recent, key, group)
        put(again, key, group)
    assert list(recent) == list(again)
    assert len(recent) <= TOTAL
    for group in "abcdefgh":
        assert sum(item[0] == group for item in recent) <= MOST


def test_of_groups_of_one_size_the_same_one_gives_up() -> None:
    recent: Recent[str] = Recent(4)
    again: Recent[str] = Recent(4)
    for key, group in [(0, "b"), (0, "a"), (1, "a"), (1, "b")]:
        put(recent, key, group)
    for item in sorted(recent):
        put(again, int(item[1:]), item[0])
    put(recent, 0, "c")
    put(again, 0, "c")
    assert sorted(recent) == sorted(again)
