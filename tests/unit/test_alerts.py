"""Alerts reach a webhook at least once, over restarts, refusals and silence; what cannot be brought is told of."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from actors.alerts import Alerts, rule_of
from tests.support.receiver import WAIT_S, Receiver
from tests.support.system import events_of, system_settings
from tori.alerts.address import SECRET, secret_of
from tori.alerts.outbox import MAX_WAITING, AlertDelivered, AlertsRuled, Outbox
from tori.alerts.sender import OVERFLOW, Sender, Waiting
from tori.alerts.severity import ALERTS, Severity, severity_of, types_of
from tori.alerts.webhook import Webhook, WebhookAway, WebhookRefused
from tori.clock import SystemClock, VirtualClock
from tori.errors import BadSettings, Unavailable
from tori.events import system as s
from tori.events.envelope import Event
from tori.ids import IdSource, source_suffix
from tori.local import LocalSystem
from tori.modules.host import ModuleHost
from tori.orchestrator.ledger import Ledger, source_of
from tori.scheduler.retry import RetryPolicy
from tori.settings import load_settings

DEGRADED = s.ModuleStateChanged("alien", "failed", "degraded", "6 restarts in 60 s")
PRESSURE = s.MemoryPressure("memory", 0.9, 0.85, "warning")
IDS = IdSource(source_suffix("orchestrator"))


def event(payload: Any) -> Event:
    return Event(IDS.next(), payload)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_every_alert_has_a_severity_and_nothing_else_has() -> None:
    assert severity_of(DEGRADED) is Severity.CRITICAL
    assert severity_of(s.ModuleStateChanged("alien", "running", "offline")) is Severity.CRITICAL
    assert severity_of(s.ModuleStateChanged("alien", "degraded", "running")) is Severity.INFO
    assert severity_of(s.ModuleStateChanged("alien", "initializing", "running")) is None
    assert severity_of(PRESSURE) is Severity.WARNING
    assert severity_of(s.MemoryPressure("memory", 0.96, 0.95, "critical")) is Severity.CRITICAL
    assert severity_of(s.ResourceRecovered("memory", 0.5, 0.8)) is Severity.INFO
    assert severity_of(s.WorkThrottled("stopped", "off", "smoke")) is Severity.CRITICAL
    assert severity_of(s.WorkThrottled("off", "stopped")) is Severity.INFO
    assert severity_of(s.WorkThrottled("high", "off", "a demo")) is Severity.WARNING
    assert severity_of(s.WorkThrottled("high", "off", "memory at 91%", "pressure", ("a",))) is Severity.WARNING
    assert severity_of(s.WorkThrottled("high", "off", "cpu at 91%", "pressure")) is Severity.INFO, "CPUPressure tells"
    assert severity_of(s.SubscriptionLagged("alien", "clients", 1, state="recovered")) is Severity.INFO
    assert severity_of(s.PerformanceAlert("x", 1.0)) is Severity.WARNING
    assert severity_of(s.TaskStarted("a", "b", "c")) is None
    assert severity_of(s.AlertUndelivered(b"x", "y", "z", 1, "no")) is None, "or an absent receiver would never end"
    assert types_of("") == {payload.__name__ for payload in ALERTS}
    assert types_of("MemoryPressure, WorkThrottled") == {"MemoryPressure", "WorkThrottled"}
    with pytest.raises(BadSettings, match="TaskStarted is no alert"):
        types_of("TaskStarted")


def test_what_was_no_alert_when_it_happened_does_not_become_one(tmp_path: Path) -> None:
    rule = AlertsRuled(("MemoryPressure",), Severity.WARNING)
    with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:
        host = mind.hosts["orchestrator"]
        host.emit([], [(PRESSURE, "")])
        host.emit([rule], [])
        (told, other) = host.emit([], [(PRESSURE, ""), (DEGRADED, "")])
        state = host.module.snapshot()
    with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:
        ledger = mind.hosts["orchestrator"].module
        assert isinstance(ledger, Ledger)
        assert list(ledger.outbox.waiting) == [told.id]
        assert other.id not in ledger.outbox.waiting
        assert ledger.snapshot() == state
        assert source_of(told) == "orchestrator"
        fresh = Ledger()
        fresh.restore(state)
        assert fresh.snapshot() == state
        mind.hosts["orchestrator"].emit([AlertDelivered(told.id)], [])
        assert (len(ledger.outbox.waiting), ledger.outbox.delivered) == (0, 1)
        mind.hosts["orchestrator"].emit([AlertsRuled()], [(PRESSURE, "")])
        assert not ledger.outbox.waiting, "there is nobody to tell any more"


def test_the_outbox_is_bounded_and_says_what_it_pushed_out() -> None:
    outbox = Outbox()
    outbox.apply(AlertsRuled(("MemoryPressure",)))
    events = [event(PRESSURE) for _ in range(MAX_WAITING + 2)]
    assert all(outbox.take(one) for one in events)
    assert len(outbox.waiting) == MAX_WAITING
    assert list(outbox.dropped) == [one.id for one in events[:2]]
    given_up: list[s.AlertUndelivered] = []
    sender = Sender(
        Webhook("http://127.0.0.1:9/", 0.1),
        RetryPolicy(retries=0),
        VirtualClock(),
        lambda: Waiting(None, list(outbox.dropped.values())),
        lambda sent: None,
        given_up.append,
        source_of,
    )
    assert sender.turn() is None
    assert [(g.event_id, g.error) for g in given_up] == [(one.id, OVERFLOW) for one in events[:2]]
    for payload in given_up:
        outbox.take(event(payload))
    assert (len(outbox.dropped), outbox.undelivered) == (0, 2)


def test_what_is_pushed_out_while_it_is_sent_and_arrives_is_delivered_and_no_more() -> None:
    outbox = Outbox()
    outbox.apply(AlertsRuled(("MemoryPressure",)))
    events = [event(PRESSURE) for _ in range(MAX_WAITING + 1)]
    for one in events:
        outbox.take(one)
    assert list(outbox.dropped) == [events[0].id]
    outbox.apply(AlertDelivered(events[0].id))
    assert (len(outbox.dropped), len(outbox.waiting), outbox.delivered, outbox.undelivered) == (0, MAX_WAITING, 1, 0)


def test_an_alert_is_a_cloud_event_with_the_secret_of_the_environment(receiver: Receiver) -> None:
    alert = event(DEGRADED)
    Webhook(receiver.url, 5.0, {"Authorization": "Bearer s3cret"}).post(alert, "orchestrator")
    ((headers, body),) = receiver.requests
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["Authorization"] == "Bearer s3cret"
    assert (body["specversion"], body["type"], body["id"]) == ("1.0", "tori.ModuleStateChanged", alert.id.hex())
    assert (body["source"], body["data"]["new"]) == ("orchestrator", "degraded")
    assert "position" not in body


def test_what_may_help_and_what_does_not(receiver: Receiver) -> None:
    webhook = Webhook(receiver.url, 5.0)
    for status, kind in ((503, WebhookAway), (429, WebhookAway), (404, WebhookRefused), (302, WebhookRefused)):
        receiver.answers = [status]
        with pytest.raises(kind, match=f"answered {status}") as raised:
            webhook.post(event(PRESSURE), "orchestrator")
        assert "secret-path" not in str(raised.value)
    assert len(receiver.requests) == 4, "a redirect is not followed"


BAD_URLS = {
    "another scheme": "ftp://x/",
    "a user": "http://user:word@host/",
    "no URL": "nonsense",
    "a path that is not ASCII": "http://h/hö",
    "a host that is not ASCII": "http://hö.example/",
    "an empty label": "http://.example.org/",
    "a long label": f"http://{'x' * 70}.example.org/",
    "half an IPv6 address": "http://[::1/",
    "a port that is none": "http://h:99999/",
    "a blank": "http://h/a b",
}


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS)
def test_a_url_that_no_request_can_go_to_is_refused_before_one_does(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"alerts\.webhook_url"):
        Webhook(url, 1.0)
    with pytest.raises(BadSettings, match=r"alerts\.webhook_url"):
        system_settings(tmp_path, **{"alerts.webhook_url": url})


BAD_SECRETS = {
    "another alphabet": "Bearer \u0441\u0435\u043a\u0440\u0435\u0442",
    "a line break": "a\nb",
    "NUL": "a\0b",
    "no UTF-8": "a\udcff",
}


@pytest.mark.parametrize("secret", BAD_SECRETS.values(), ids=BAD_SECRETS)
def test_a_secret_that_no_header_can_carry_is_refused_at_the_start(
    secret: str, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = system_settings(tmp_path, **{"alerts.webhook_url": receiver.url}).plain()["alerts"]
    environment = {SECRET: secret}
    with pytest.raises(BadSettings, match=SECRET) as raised:
        load_settings(tmp_path, {"alerts.webhook_url": receiver.url}, environment)
    assert secret not in str(raised.value)
    load_settings(tmp_path, {}, environment)  # nobody is told of anything: nobody needs it
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(BadSettings, match=SECRET):
        Alerts(settings, SystemClock(), None, lambda *_: None)  # type: ignore[arg-type]  # nobody asks the ledger


@pytest.mark.parametrize("secret", ["Bearer s3cret\n", "a\nb", BAD_SECRETS["another alphabet"], "a\udcff"])
def test_a_secret_that_gets_so_far_ends_its_alert_and_nothing_else(secret: str, receiver: Receiver) -> None:
    desk = Desk(receiver.url, PRESSURE, headers={"Authorization": secret})
    assert desk.run() == []
    (given_up,) = desk.given_up
    assert "no request can be made" in given_up.error
    assert secret.strip() not in given_up.error
    assert "secret-path" not in given_up.error


def test_a_secret_may_end_with_a_line_as_files_do() -> None:
    assert secret_of("Bearer s3cret\n") == "Bearer s3cret"
    assert secret_of(" caf\u00e9 ") == "caf\u00e9", "Latin-1 is what headers carry"
    assert secret_of(" \n") == ""


def test_nobody_there_and_a_receiver_that_hangs_are_away(receiver: Receiver) -> None:
    with pytest.raises(WebhookAway, match="does not answer"):
        Webhook("http://127.0.0.1:9/", 1.0).post(event(PRESSURE), "orchestrator")
    receiver.hangs.clear()
    with pytest.raises(WebhookAway, match="does not answer: timed out"):
        Webhook(receiver.url, 0.1).post(event(PRESSURE), "orchestrator")


class Desk:
    """A sender over a list, on a virtual clock."""

    def __init__(self, url: str, *payloads: Any, retries: int = 3, headers: Mapping[str, str] | None = None) -> None:
        self.clock = VirtualClock()
        self.waiting = [event(payload) for payload in payloads]
        self.given_up: list[s.AlertUndelivered] = []
        policy = RetryPolicy(retries=retries, jitter=0)
        look = lambda: Waiting(self.waiting[0] if self.waiting else None, [])  # noqa: E731
        self.sender = Sender(
            Webhook(url, 5.0, headers),
            policy,
            self.clock,
            look,
            self._sent,
            self._give_up,
            source_of,
        )

    def _sent(self, sent: Event) -> None:
        self.waiting.remove(sent)

    def _give_up(self, payload: s.AlertUndelivered) -> None:
        self.given_up.append(payload)
        self.waiting = [one for one in self.waiting if one.id != payload.event_id]

    def run(self) -> list[float]:
        """Turn until nothing waits; return the pauses."""
        pauses: list[float] = []
        while (wait_s := self.sender.turn()) is not None:
            if wait_s:
                pauses.append(wait_s)
                self.clock.advance(wait_s)
        return pauses


def test_a_receiver_that_is_away_is_tried_again_with_growing_pauses(receiver: Receiver) -> None:
    desk = Desk(receiver.url, PRESSURE, DEGRADED)
    first, second = (one.id.hex() for one in desk.waiting)
    receiver.answers = [503, 429, 200]
    assert desk.run() == [1.0, 2.0]
    assert receiver.ids == [first, first, first, second], "in order, under one id"
    assert desk.given_up == []


def test_an_early_wake_does_not_hurry_a_pause(receiver: Receiver) -> None:
    desk = Desk(receiver.url, PRESSURE)
    receiver.answers = [503]
    assert desk.sender.turn() == 1.0
    desk.clock.advance(0.25)
    assert desk.sender.turn() == 0.75
    assert len(receiver.requests) == 1


def test_what_cannot_be_brought_is_given_up_with_a_word_and_the_next_goes_on(receiver: Receiver) -> None:
    desk = Desk(receiver.url, PRESSURE, DEGRADED, PRESSURE, retries=1)
    lost, refused, good = desk.waiting
    receiver.answers = [500, 502, 400, 200]
    assert desk.run() == [1.0]
    assert [(g.event_id, g.event_type, g.attempts) for g in desk.given_up] == [
        (lost.id, "MemoryPressure", 2),
        (refused.id, "ModuleStateChanged", 1),
    ]
    assert all(g.url == receiver.place for g in desk.given_up)
    assert receiver.ids[-1] == good.id.hex()


class Loop:
    """The ledger of a system without its thread: one caller at a time, as there."""

    def __init__(self, host: ModuleHost) -> None:
        self._host, self._lock = host, threading.Lock()
        self.is_dead = False

    def call(self, work: Any) -> Any:
        with self._lock:
            if self.is_dead:
                raise Unavailable("the process is gone.")
            return work(self._host)

    def record(self, records: list[Any], payloads: list[tuple[Any, str]]) -> None:
        self.call(lambda host: host.emit(records, payloads))


def alerts_of(home: Path, loop: Loop, url: str) -> Alerts:
    settings = system_settings(home, **{"alerts.webhook_url": url, "alerts.timeout_s": 30.0}).plain()["alerts"]
    return Alerts(settings, SystemClock(), loop, loop.record)  # type: ignore[arg-type]  # all that is asked of a loop


def test_alerts_are_sent_by_a_thread_and_again_after_a_crash(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "Bearer x\n")
    receiver.hangs.clear()
    with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:
        loop = Loop(mind.hosts["orchestrator"])
        alerts = alerts_of(tmp_path, loop, receiver.url)
        alerts.start()
        loop.record([], [(DEGRADED, ""), (PRESSURE, "")])
        assert receiver.came.acquire(timeout=WAIT_S)
        loop.record([], [(PRESSURE, "")])  # a receiver that hangs holds nobody up
        assert len(receiver.requests) == 1
        alerts._is_over = loop.is_dead = True  # the process dies before it learns that the first one arrived
    with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:
        loop = Loop(mind.hosts["orchestrator"])
        receiver.hangs.set()
        again = alerts_of(tmp_path, loop, receiver.url)
        again.start()
        for _ in range(3):
            assert receiver.came.acquire(timeout=WAIT_S)
        loop.record([], [(DEGRADED, "")])
        assert receiver.came.acquire(timeout=WAIT_S)
        again.stop()
        ledger = mind.hosts["orchestrator"].module
        assert isinstance(ledger, Ledger)
        assert (len(ledger.outbox.waiting), ledger.outbox.delivered) == (0, 4)
    told = [
        e.id.hex()
        for e in events_of(tmp_path, "orchestrator")
        if isinstance(e.payload, (type(DEGRADED), type(PRESSURE)))
    ]
    assert receiver.ids == [told[0], *told], "at least once each, the first one twice"
    assert all(headers["Authorization"] == "Bearer x" for headers, _ in receiver.requests)


def test_without_a_webhook_nothing_waits(tmp_path: Path) -> None:
    with LocalSystem(tmp_path, modules=("orchestrator",)) as mind:
        loop = Loop(mind.hosts["orchestrator"])
        alerts = alerts_of(tmp_path, loop, "")
        alerts.start()
        loop.record([], [(DEGRADED, "")])
        alerts.stop()
        assert isinstance(loop._host.module, Ledger)
        assert not loop._host.module.outbox.waiting
    plain = system_settings(
        tmp_path, **{"alerts.webhook_url": "http://x/", "alerts.least_severity": "critical"}
    ).plain()
    assert rule_of(plain["alerts"]).least is Severity.CRITICAL
