"""Logs of actors: one JSON object a line on stderr, which Ray keeps in the session's log directory.

A line about an event carries its ids, so that it can be joined with ``tori why``:

    log = event_logger("alien", event)
    log.warning("audit took %.1f s", seconds)
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

from tori.events.envelope import Event

ROOT = "tori"
_FIELDS = "tori_fields"


class JsonFormatter(logging.Formatter):
    """Writes a record as JSON: time, level, logger, message, pid, the ids that are known, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        line |= getattr(record, _FIELDS, {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Writes a record for people: time, level, logger, message, then the ids that are known."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is the base class's
        ids = [f"{name}={value}" for name, value in getattr(record, _FIELDS, {}).items()]
        return " ".join([super().formatMessage(record), *ids])


class EventLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that puts its fields into every record; what a call gives as ``extra`` is added to them."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the fields of the call into those of the logger."""
        kwargs["extra"] = {_FIELDS: {**(self.extra or {}), **(kwargs.get("extra") or {})}}
        return msg, kwargs


def configure_logging(level: str = "info", *, json_lines: bool = True) -> None:
    """Send the ``tori`` and ``actors`` loggers to stderr at ``level``; calling again replaces what was set."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if json_lines else TextFormatter())
    for name in (ROOT, "actors"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False


def configure_from(plain: Mapping[str, Any]) -> None:
    """Configure logging as ``Settings.plain()`` says."""
    configure_logging(plain["log"]["level"], json_lines=plain["log"]["json_lines"])


def event_logger(module: str, event: Event | None = None, **fields: str) -> EventLogger:
    """Return the logger of a module, about ``event`` if given; ``fields`` may be task_id and run_id."""
    known: dict[str, str] = {"module": module, **fields}
    if event is not None:
        known |= {
            "event_id": event.id.hex(),
            "correlation_id": (event.correlation_id or event.id).hex(),
            "type": event.type,
        }
    return EventLogger(logging.getLogger(f"{ROOT}.{module}"), known)
