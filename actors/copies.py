"""The further copy of each checkpoint under a URL, made in a thread of its own: a slow or dead service holds up nothing.

At most one copy is under way and one waits; a newer one takes the place of the one that waits, for it holds more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from actors.failure import brief_error
from actors.logging import event_logger
from actors.names import ORCHESTRATOR
from tori.checkpoint.manifest import Manifest
from tori.checkpoint.remote import UrlStore, shown
from tori.checkpoint.retention import KeepNewestPolicy
from tori.checkpoint.store import CheckpointStore
from tori.errors import ToriError, Unavailable
from tori.events.system import ErrorOccurred

PATIENCE_S = 10.0
"""How long whoever takes a checkpoint is kept waiting for its copy; it goes on all the same."""


class Copies:
    """Copies checkpoints from the disk to a URL; does nothing without one."""

    def __init__(self, url: str, keep: int, store: CheckpointStore, emit: Callable[..., None]) -> None:
        self.url = shown(url)
        self._url = url
        self._keep = keep
        self._store = store
        self._emit = emit
        self._waiting: tuple[Manifest, Future[str]] | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def copy(self, manifest: Manifest) -> dict[str, Any]:
        """Have a checkpoint copied; return what became of it as far as it is known soon. A failure is told, never raised."""
        if not self._url:
            return {}
        future: Future[str] = Future()
        with self._lock:
            if self._waiting is not None:
                self._waiting[1].set_result("a newer checkpoint is copied instead.")
            self._waiting = manifest, future
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tori-copies", daemon=True)
                self._thread.start()
        self._wake.set()
        try:
            problem = future.result(PATIENCE_S)
        except TimeoutError:
            return {"copy": {"url": self.url, "state": "under way"}}
        return {"copy": {"url": self.url, "state": "failed" if problem else "done", "problem": problem}}

    def _run(self) -> None:
        while True:
            self._wake.wait()
            with self._lock:
                self._wake.clear()
                order, self._waiting = self._waiting, None
            if order is not None:
                order[1].set_result(self._copy(order[0]))

    def _copy(self, manifest: Manifest) -> str:
        """Return what went wrong; empty when nothing did. Retention may have removed the checkpoint meanwhile: a newer one follows."""
        try:
            store = UrlStore(self._url, retention=KeepNewestPolicy(self._keep))
            store.put(self._store, manifest)
            store.prune()
        except Exception as error:
            reason = brief_error(
                error if isinstance(error, ToriError) else Unavailable(f"{type(error).__name__}: {error}")
            )
            event_logger(ORCHESTRATOR).error("checkpoint %s was not copied", manifest.checkpoint_id, exc_info=error)
            self._emit(ErrorOccurred("CheckpointNotCopied", reason, ORCHESTRATOR))
            return reason
        return ""
