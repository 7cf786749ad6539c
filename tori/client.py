"""The ports between a door (command line, notebook, test) and a running system.

``tori`` knows only these protocols; ``actors`` implements them over Ray and announces itself as the entry point ``ray`` of the
group ``tori.backends``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tori.bus.producer import PublishReceipt
from tori.errors import NotRunning
from tori.events.document import Receipt

BACKENDS = "tori.backends"


class Place(msgspec.Struct, frozen=True):
    """Where a system runs."""

    address: str
    namespace: str
    state_dir: str
    url: str | None = None
    dashboard_url: str | None = None
    started_cluster: bool = False


class Stopped(msgspec.Struct, frozen=True):
    """What a stop did; false when nothing ran."""

    was_running: bool
    problems: tuple[str, ...] = ()
    """What went wrong on the way; the system is down all the same."""

    def __bool__(self) -> bool:
        return self.was_running


class SystemClient(Protocol):
    """A running system, as a door sees it. Every call is safe to repeat; errors are ToriErrors."""

    def ingest(self, documents: bytes) -> Receipt:
        """Put a batch in (msgpack of list[Document]); the receipt means it is on disk."""

    def open_producer(self, origin: str) -> tuple[int, int]:
        """Begin an incarnation of an idempotent producer; return it and the next number. Use ``tori.bus.producer.Producer``."""

    def publish(self, origin: str, incarnation: int, seq: int, payloads: bytes) -> PublishReceipt:
        """Put events in under a producer's number (``encode_payloads``); again with the same number: the same receipt."""

    def query(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        """Ask a module; plain JSON values."""

    def command(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        """Ask a module to do something; the answer means it is on disk."""

    def status(self) -> dict[str, Any]:
        """Return state, modules, nodes, rates and counts."""

    def quiesce(self) -> dict[str, Any]:
        """Settle, run one full pass, settle; return ``digest`` and ``sections``."""

    def digest(self) -> dict[str, Any]:
        """Return ``digest`` and ``sections`` as they are now."""

    def why(self, event_id: str) -> list[dict[str, Any]]:
        """Return an event and everything it follows from."""

    def find(self, identifier: str) -> str | None:
        """Return the id of the latest event about a document, concept, bridge, ..., or None."""

    def tail(self, count: int, types: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return the newest events."""

    def since(self, offsets: Mapping[str, int], count: int, types: tuple[str, ...]) -> dict[str, Any]:
        """Return events after ``offsets`` and the offsets reached."""

    def events(self, text: str, limit: int) -> dict[str, Any]:
        """Return the newest ``events`` that fit a filter (``tori.events.filter``), ``browsed`` and ``is_complete``."""

    def dead_letters(self, text: str, limit: int) -> dict[str, Any]:
        """Return the newest dead ``letters`` of all modules that fit a filter, how many ``matched``, and their ``states``."""

    def tasks(self) -> dict[str, Any]:
        """Return ``tasks`` (the specs and when they are due), ``runs`` (the latest) and ``active`` (those that have not ended)."""

    def run_task(self, task: str, *, force: bool = False) -> dict[str, Any]:
        """Run a task now, with ``force`` whatever the pressure; return ``run_id`` and what holds it (``held_by``)."""

    def throttle(self, level: str, reason: str = "") -> dict[str, Any]:
        """Hold background work back: ``off``, ``high``, ``severe``, or ``stopped``: at once.

        Returns ``level``, ``old`` and the ``runs`` that were stopped.
        """

    def run_story(self, run_id: str) -> dict[str, Any]:
        """Return what is known of a run, its steps and its result; raises BadInput for an unknown one."""

    def run_logs(self, run_id: str) -> dict[str, Any]:
        """Return what a run printed: ``logs`` by ``attempt``, oldest first, ``attempts``, ``state``; raises BadInput for an unknown one."""

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        """Cancel a run that has not finished."""

    def pause_task(self, task: str, *, paused: bool) -> dict[str, Any]:
        """Let a task's trigger rest, or go on; return ``task_id`` and ``paused``. Raises BadInput for an unknown task."""

    def pause(self, module: str | None, *, paused: bool) -> dict[str, Any]:
        """Pause or resume one module, or the whole system."""

    def ship(self, data: bytes, name: str) -> dict[str, Any]:
        """Take in the tasks of a bundle (``Backend.pack``) of the file ``name``; return its ``sha256`` and its ``tasks``."""

    def reload(self, module: str) -> dict[str, Any]:
        """Put new code of a module in the place of the code that runs: ``from_version``, ``to_version``, ``pause_s``, ``changed``.

        Raises a PermanentError when the new code is refused; the old goes on then.
        """

    def checkpoint(self) -> dict[str, Any]:
        """Take a checkpoint of every module now; return its manifest."""

    def checkpoints(self) -> list[dict[str, Any]]:
        """Return the kept checkpoints, newest first."""

    def restore(self, checkpoint_id: str | None) -> dict[str, Any]:
        """Restart every module from a checkpoint and its journal; the state that results is the same, or it says why not."""

    def close(self) -> None:
        """Let the connection go; the system runs on."""


class JobView(msgspec.Struct, frozen=True):
    """How a job on a cluster is."""

    job_id: str
    state: str
    """pending, running, succeeded, failed or stopped."""
    command: str
    exit_code: int | None = None
    """None until it has ended."""
    message: str = ""
    started_s: float = 0.0


class JobPort(Protocol):
    """The jobs of a cluster, seen from outside: an address and a token are all that is known."""

    def submit(self, words: Sequence[str], folder: Path | None = None) -> str:
        """Begin a command of ``tori`` there, in a copy of ``folder``; return the job's id."""

    def view(self, job_id: str) -> JobView:
        """Return how a job is; raises BadInput for an unknown one."""

    def list(self) -> list[JobView]:
        """Return all jobs, oldest first."""

    def logs(self, job_id: str) -> str:
        """Return what a job has said so far."""

    def cancel(self, job_id: str) -> bool:
        """Ask a job to end; False when it had ended."""


class Backend(Protocol):
    """Starts, finds and stops systems."""

    def jobs(self, address: str, token: str) -> JobPort:
        """Return the jobs of the cluster whose dashboard is at ``address``; raises NotRunning."""

    def pack(self, path: Path) -> bytes:
        """Return the tasks that stand in a Python file as a bundle; runs the file. Raises BadInput or BadSettings."""

    def up(self, settings: Any, address: str | None) -> Place:
        """Start a system, or find the one that runs in this home; idempotent."""

    def connect(self, settings: Any, address: str | None) -> SystemClient:
        """Connect to a running system; raises NotRunning."""

    def place(self, settings: Any, address: str | None) -> Place | None:
        """Return where the system of this home runs, or None."""

    def down(self, settings: Any, address: str | None) -> Stopped:
        """Stop the system, final checkpoint first, and the cluster if it was started for it; false when none ran.

        A checkpoint that fails is a problem told, and stops no stop: the journals hold everything.
        """


def load_backend(name: str = "ray") -> Backend:
    """Return the backend that is installed under ``name``."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=BACKENDS, name=name):
        backend: Backend = entry.load()()
        return backend
    raise NotRunning(
        f"no backend {name!r} is installed.", remedy="Install the whole distribution: pip install tori-orchestrator."
    )


def home_of(settings: Any) -> Path:
    """Return the home directory of settings."""
    return Path(settings.home).expanduser().resolve()
