"""Brings alerts to the webhook, in a thread of its own: a receiver that hangs holds up nobody but later alerts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tori.alerts.address import SECRET, secret_of
from tori.alerts.outbox import AlertDelivered, AlertsRuled
from tori.alerts.sender import Sender, Waiting
from tori.alerts.severity import Severity, types_of
from tori.alerts.webhook import Webhook
from tori.clock import Clock
from tori.modules.host import ModuleHost
from tori.modules.loop import ModuleLoop
from tori.orchestrator.ledger import Ledger, source_of
from tori.scheduler.retry import RetryPolicy

STOP_S = 2.0


def rule_of(settings: Mapping[str, Any]) -> AlertsRuled:
    """Return which events are alerts by the section ``alerts``; none when nobody is to be told."""
    if not settings["webhook_url"]:
        return AlertsRuled()
    return AlertsRuled(tuple(sorted(types_of(settings["types"]))), Severity[settings["least_severity"].upper()])


class Alerts:
    """The outbox of the ledger with its thread; without a webhook there is no thread.

    Raises BadSettings for a URL or a secret that no request can carry.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        clock: Clock,
        ledger: ModuleLoop,
        record: Callable[[list[Any], list[tuple[Any, str]]], None],
    ) -> None:
        self._rule = rule_of(settings)
        self._ledger = ledger
        self._record = record
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        self._wake = threading.Event()
        self._is_over = False
        self._thread: threading.Thread | None = None
        if settings["webhook_url"]:
            secret = secret_of(os.environ.get(SECRET, ""))
            headers = {settings["secret_header"]: secret} if secret else {}
            webhook = Webhook(settings["webhook_url"], settings["timeout_s"], headers)
            self._sender = Sender(
                webhook,
                RetryPolicy(retries=settings["retries"]),
                clock,
                lambda: self._ledger.call(_look),
                lambda event: self._record([AlertDelivered(event.id)], []),
                lambda payload: self._record([], [(payload, payload.event_type)]),
                lambda event: source_of(event) or "orchestrator",
            )
            self._thread = threading.Thread(target=self._run, name="tori-alerts", daemon=True)

    def start(self) -> None:
        """Say from now on which events are alerts, if that has changed; then send what waits, also from before a restart."""
        if self._ledger.call(self._listen) != self._rule:
            self._record([self._rule], [])
        if self._thread is not None:
            self._thread.start()

    def _listen(self, host: ModuleHost) -> AlertsRuled:
        assert isinstance(host.module, Ledger)
        host.module.on_alert = self._wake.set
        return host.module.outbox.rule

    def stop(self) -> None:
        """Send no more; what waits is sent after the next start."""
        self._is_over = True
        self._wake.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            while not self._is_over:
                self._wake.clear()  # before the look: an alert that comes during it is seen by the next
                wait_s = self._sender.turn()
                if wait_s is None or wait_s > 0:
                    self._wake.wait(wait_s)
        except BaseException as error:
            if not self._is_over:
                self.on_failure(error)


def _look(host: ModuleHost) -> Waiting:
    assert isinstance(host.module, Ledger)
    outbox = host.module.outbox
    return Waiting(next(iter(outbox.waiting.values()), None), list(outbox.dropped.values()))
