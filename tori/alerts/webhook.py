"""One alert, one POST: a CloudEvent in JSON, to a URL that a person set."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import msgspec

from tori.alerts.address import SECRET, place_of
from tori.errors import PermanentError, TemporaryError
from tori.events.catalogue import lane_of
from tori.events.cloudevents import to_cloudevent
from tori.events.envelope import Envelope, Event, FrameContext
from tori.journal.position import Position

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
TRY_AGAIN = (408, 425, 429)
"""Answers of class 4xx that may change; all of 5xx may."""


class WebhookRefused(PermanentError):
    """The receiver answered that it does not want this, or no request can be made of it. Fields: status (0 = not sent)."""


class WebhookAway(TemporaryError):
    """Nobody answered, or whoever did asks to try again. Fields: status (0 = nobody)."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry alert and secret to a place that nobody set."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Webhook:
    """A receiver. ``headers``: what else each request carries, such as a secret."""

    def __init__(self, url: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> None:
        self.place = place_of(url)
        """Where it is, without what may be a secret."""
        self._url = url
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": CONTENT_TYPE, "User-Agent": "tori"} | dict(headers or {})
        self._opener = urllib.request.build_opener(_NoRedirect)

    def post(self, event: Event, source: str) -> None:
        """Return when the receiver has taken it (any 2xx). Raises WebhookAway or WebhookRefused."""
        request = urllib.request.Request(self._url, body_of(event, source), self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout_s):
                return
        except urllib.error.HTTPError as error:
            error.close()
            kind = WebhookAway if error.code in TRY_AGAIN or error.code >= 500 else WebhookRefused
            raise kind(f"{self.place} answered {error.code} {error.reason}.", status=error.code) from None
        except (http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise WebhookAway(f"{self.place} does not answer: {reason}.", status=0) from error
        except ValueError as error:  # its text may repeat the secret
            word = f"no request can be made to {self.place} ({type(error).__name__})."
            raise WebhookRefused(word, remedy=f"Look at {SECRET} and alerts.webhook_url.", status=0) from None


def body_of(event: Event, source: str) -> bytes:
    """Return an event as the JSON text of a CloudEvent; its ``id`` is the receiver's key against doubles."""
    lane = lane_of(type(event.payload))
    message = to_cloudevent(Envelope(event, FrameContext(source), lane, Position(source, 0, 0)))
    del message["position"]  # its place in the journal is not kept with the alert; tori why finds it by its id
    return msgspec.json.encode(message)
