"""Finding an id over fake actors."""

from __future__ import annotations

from typing import Any

import pytest

from actors import find as shell
from actors.find import find_event
from tests.actors.fake_ray import FakeActor, FakeRay
from tori.errors import Unavailable


def knows(**names: str) -> FakeActor:
    return FakeActor(query=lambda query, arguments: {"event_id": names.get(arguments["id"], "")})


def stopped(query: str, arguments: Any) -> Any:
    raise Unavailable("module alien has stopped.")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "ray", FakeRay())


def test_the_first_who_knows_it_answers_also_when_another_is_down() -> None:
    handles = {"reader": knows(a="e1"), "alien": FakeActor(query=stopped)}
    assert find_event("a", handles, ("alien", "reader", "scars")) == "e1"


def test_nobody_knows_it() -> None:
    assert find_event("b", {"reader": knows(a="e1")}, ("reader",)) is None


def test_nothing_is_called_unknown_while_its_owner_may_be_down() -> None:
    handles = {"reader": knows(a="e1"), "alien": FakeActor(query=stopped)}
    with pytest.raises(Unavailable, match="scars, alien cannot be asked now"):
        find_event("b", handles, ("reader", "alien", "scars"))
