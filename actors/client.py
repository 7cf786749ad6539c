"""A client of a running system over Ray: the port of ``tori.client``, with retries that are safe because every call is idempotent."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError, RaySystemError, RayTaskError

from actors import cluster
from actors.failure import brief_error
from actors.names import NAMESPACE, ORCHESTRATOR
from tori.bus.producer import PublishReceipt, opened
from tori.errors import Backpressure, NodeAway, NoRoom, NotRunning, TemporaryError, ToriError, Unavailable
from tori.events.document import Receipt
from tori.modules.registry import CLIENTS

PATIENCE_S = 60.0
LAST_SHARE = 0.02
"""With less of its patience left than this a call is not made again."""
AT_ONCE = (Backpressure, NodeAway)
"""What a call that is made again in a moment meets again. Back-pressure is the caller's to wait out: only it knows whom to tell."""
RETRY_S = 0.2
LOOK_S = 30.0
"""How often a long call is asked after."""
_GONE = (RayActorError, ObjectLostError, RaySystemError)


class RayClient:
    """Talks to the named orchestrator. Survives its restarts: a call that did not come back is made again."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._handle: Any = None
        self._log = logging.getLogger("tori.client")

    def _orchestrator(self) -> Any:
        if self._handle is None:
            try:
                self._handle = ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE)
            except ValueError as error:
                raise NotRunning("no TORI runs on this Ray cluster.", remedy="Start it with tori up.") from error
        return self._handle

    def _insist(self, call: Callable[[Any, float], Any], at_once: tuple[type[ToriError], ...] = AT_ONCE) -> Any:
        """Make a call until it comes back: an actor that died is waited for, a temporary error is tried again.

        ``call`` is given the seconds of patience that are left. Raises Unavailable when they are over, ``at_once`` without waiting.
        """
        deadline = time.monotonic() + self._patience_s
        last: ToriError | None = None
        while True:
            left = deadline - time.monotonic()
            if last is not None and left < self._patience_s * LAST_SHARE:
                raise last  # a call with no time for its answer would say less
            try:
                return call(self._orchestrator(), max(0.0, left))
            except RayTaskError as error:
                cause = error.cause
                if not isinstance(cause, ToriError):
                    raise
                if isinstance(cause, at_once) or not isinstance(cause, TemporaryError) or time.monotonic() > deadline:
                    raise cause from None
                last = cause
            except GetTimeoutError as error:
                raise Unavailable(
                    f"the orchestrator did not answer in {self._patience_s:.0f} s.",
                    remedy="Try again; when it stays so: tori doctor, tori down, tori up. Nothing acknowledged is lost.",
                ) from error
            except _GONE as error:
                self._handle = None
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"the orchestrator did not come back: {error}.", remedy="See tori status."
                    ) from error
            time.sleep(RETRY_S)

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        return self._insist(lambda o, s: ray.get(getattr(o, method).remote(*arguments, **named), timeout=s))

    def _call_long(self, method: str, *arguments: Any) -> Any:
        """Make a call that may rightly take long: wait as long as the orchestrator lives and says what it does."""
        return self._insist(lambda o, _: self._await(o, method, getattr(o, method).remote(*arguments)))

    def _await(self, orchestrator: Any, method: str, ref: Any) -> Any:
        begun = time.monotonic()
        while not ray.wait([ref], timeout=LOOK_S)[0]:
            doing = ray.get(orchestrator.doing.remote(), timeout=self._patience_s)
            self._log.warning(
                "tori: %s has taken %.0f s so far%s", method, time.monotonic() - begun, f" ({doing})" if doing else ""
            )
        return ray.get(ref)

    # -- the port ----------------------------------------------------------------------------------------------

    def ingest(self, documents: bytes) -> Receipt:
        """Put the batch into the object store and have its ref routed; the receipt means it is on disk."""

        def publish(orchestrator: Any, patience_s: float) -> Receipt:
            begun, ref = time.monotonic(), ray.put(documents)
            (receipt,) = ray.get(orchestrator.publish.remote([ref]), timeout=patience_s)
            found: Receipt = ray.get(receipt, timeout=max(0.0, patience_s - (time.monotonic() - begun)))
            return found

        receipt: Receipt = self._insist(publish)
        return receipt

    def open_producer(self, origin: str) -> tuple[int, int]:
        return opened(self.command(CLIENTS, "open_producer", {"origin": origin}))

    def publish(self, origin: str, incarnation: int, seq: int, payloads: bytes) -> PublishReceipt:
        """Safe to repeat, so a call whose outcome is unknown is made again by ``_insist``."""
        arguments = {"origin": origin, "incarnation": incarnation, "seq": seq, "payloads": payloads}
        receipt: PublishReceipt = self.command(CLIENTS, "publish", arguments)
        return receipt

    def query(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        return self._call("query", module, name, dict(arguments))

    def command(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        return self._call("command", module, name, dict(arguments))

    def status(self) -> dict[str, Any]:
        """Return how the system stands; raises NoRoom at once: who asks wants to know that."""
        found: dict[str, Any] = self._insist(lambda o, s: ray.get(o.status.remote(), timeout=s), (*AT_ONCE, NoRoom))
        return found

    def quiesce(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call_long("quiesce")
        return found

    def digest(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call_long("digest")
        return found

    def why(self, event_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("relay", "why", event_id)
        return found

    def find(self, identifier: str) -> str | None:
        found: str | None = self._call("find", identifier)
        return found

    def tail(self, count: int, types: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("relay", "tail", count, types)
        return found

    def since(self, offsets: Mapping[str, int], count: int, types: tuple[str, ...] = ()) -> dict[str, Any]:
        found: dict[str, Any] = self._call("relay", "since", dict(offsets), count, types)
        return found

    def events(self, text: str, limit: int) -> dict[str, Any]:
        found: dict[str, Any] = self._call("relay", "events", text, limit)
        return found

    def dead_letters(self, text: str, limit: int) -> dict[str, Any]:
        found: dict[str, Any] = self._call("relay", "dead_letters", text, limit)
        return found

    def tasks(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("tasks")
        return found

    def run_task(self, task: str, *, force: bool = False) -> dict[str, Any]:
        run_id = f"{task}-{uuid.uuid4().hex[:16]}"  # made here: a call that is made again asks for the same run
        extra = {"force": True} if force else {}
        found: dict[str, Any] = self._call("run_task", task, run_id, **extra)
        return found

    def throttle(self, level: str, reason: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self._call("throttle", level, reason)
        return found

    def run_story(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("run_story", run_id)
        return found

    def run_logs(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("run_logs", run_id)
        return found

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("cancel_run", run_id)
        return found

    def pause_task(self, task: str, *, paused: bool) -> dict[str, Any]:
        found: dict[str, Any] = self._call("pause_task", task, paused=paused)
        return found

    def pause(self, module: str | None, *, paused: bool) -> dict[str, Any]:
        found: dict[str, Any] = self._call("pause", module, paused=paused)
        return found

    def ship(self, data: bytes, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("ship", data, name)
        return found

    def reload(self, module: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call_long("reload", module)
        return found

    def checkpoint(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call_long("checkpoint")
        return found

    def checkpoints(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("checkpoints")
        return found

    def restore(self, checkpoint_id: str | None) -> dict[str, Any]:
        found: dict[str, Any] = self._call_long("restore", checkpoint_id)
        return found

    def joined(self, node: str) -> dict[str, Any]:
        """Tell the orchestrator that this node has come."""
        found: dict[str, Any] = self._call("joined", node)
        return found

    def leave(self, node: str) -> dict[str, Any]:
        """Tell the orchestrator that this node goes; what it has is saved first."""
        found: dict[str, Any] = self._call("leave", node)
        return found

    def is_there(self) -> bool:
        """Say whether the cluster has an orchestrator."""
        try:
            self._orchestrator()
        except NotRunning:
            return False
        return True

    def check(self) -> None:
        """Raise NotRunning unless the cluster has an orchestrator."""
        self._orchestrator()

    def wait_ready(self, timeout_s: float) -> dict[str, Any]:
        """Return once every module runs; raises Unavailable with what does not."""
        found: dict[str, Any] = self._call_long("ready", timeout_s)
        return found

    def stop(self, timeout_s: float) -> tuple[str, ...]:
        """Stop every module, final checkpoint first, then the orchestrator itself; return what went wrong on the way."""
        orchestrator = self._orchestrator()
        try:
            found = ray.get(orchestrator.stop.remote(timeout_s), timeout=timeout_s + 10)
            return tuple(found["problems"])
        except (RayTaskError, *_GONE, GetTimeoutError) as error:
            return (f"the orchestrator did not stop in order: {brief_error(error)}",)
        finally:
            with contextlib.suppress(*_GONE, ValueError):
                ray.kill(orchestrator, no_restart=True)
            self._handle = None

    def close(self) -> None:
        """Leave the cluster; the system runs on."""
        cluster.disconnect()
