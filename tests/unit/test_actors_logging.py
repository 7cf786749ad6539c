"""Log lines: one JSON object each, with the ids that join them to events."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from actors.logging import configure_from, configure_logging, event_logger
from tori.events.envelope import Event
from tori.events.system import SystemStarted


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


EVENT = Event(b"\1" * 16, SystemStarted("cold"), correlation_id=b"\2" * 16)


def test_a_line_carries_the_ids_of_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    event_logger("alien", EVENT, run_id="r1").warning("took %.1f s", 2.0, extra={"task_id": "audit"})
    (line,) = lines(capsys)
    assert line.pop("time").endswith("Z")
    assert line.pop("pid") > 0
    assert line == {
        "level": "warning",
        "logger": "tori.alien",
        "message": "took 2.0 s",
        "module": "alien",
        "event_id": "01" * 16,
        "correlation_id": "02" * 16,
        "type": "SystemStarted",
        "task_id": "audit",
        "run_id": "r1",
    }


def test_an_event_that_began_its_story_is_its_own_correlation(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    event_logger("alien", Event(b"\3" * 16, SystemStarted("cold"))).info("x")
    assert lines(capsys)[0]["correlation_id"] == "03" * 16


def test_a_traceback_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    try:
        raise ValueError("no\nway")
    except ValueError:
        event_logger("braid").exception("failed: %s", "line\nbreak")
    (line,) = lines(capsys)
    assert line["message"] == "failed: line\nbreak"
    assert "ValueError: no\nway" in line["traceback"]


def test_below_the_level_nothing_and_configuring_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    configure_from({"log": {"level": "error", "json_lines": True}})
    event_logger("alien").warning("unseen")
    logging.getLogger("actors.cluster").error("seen")
    assert [line["message"] for line in lines(capsys)] == ["seen"]


def test_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(json_lines=False)
    event_logger("alien", EVENT).info("hello")
    err = capsys.readouterr().err
    assert "INFO    tori.alien: hello module=alien event_id=" + "01" * 16 in err
