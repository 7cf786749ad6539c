"""Tasks that came from elsewhere: what travels, where it is kept, and what is trusted of it.

A bundle holds the functions of one file, pickled by value, and their specs. It is kept under the sha256 of its bytes, which the
record ``CodeShipped`` in the orchestrator's journal names. The orchestrator reads specs only, with an unpickler that knows nothing
but triggers and specs; the functions are opened by the workers that run them.
"""

from __future__ import annotations

import io
import pickle
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tori.errors import BadInput, BadSettings, PermanentError, ToriError
from tori.journal.files import SYSTEM_FILES, Files, replace
from tori.scheduler.spec import TaskSpec
from tori.scheduler.trigger import refuse_circles
from tori.scheduler.user import USER

FOLDER = "code"
BUNDLE_SUFFIX = ".tori.code"
MAX_BUNDLE_BYTES = 8 * 1024 * 1024
"""Code is small; data that a function closes over belongs into a file or a journal."""
MAX_TASKS = 256
_REBUILD = (("msgspec._core", "rebuild"), ("msgspec._utils", "rebuild"))
"""How a Struct is unpickled: it calls the class it is given, which came through here as well."""
_SAFE = re.compile(r"tori\.scheduler\.(spec|trigger|retry)")


class Bundle(msgspec.Struct, array_like=True, frozen=True):
    """What travels."""

    name: str
    """Of the file."""
    python: str
    """``3.12``: pickled code is for the version that made it."""
    specs: bytes
    """Pickled tuple[TaskSpec, ...]."""
    functions: dict[str, bytes]
    """By task id, the function pickled by value."""


class CodeShipped(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """Private record: these tasks are those of this bundle from now on."""

    sha256: str
    name: str
    task_ids: tuple[str, ...]


class ShippedTask(NamedTuple):
    """A task whose function lies in a bundle."""

    spec: TaskSpec
    sha256: str
    function: bytes


class CodeDamaged(PermanentError):
    """A bundle is not there, or is not what its name says."""

    exit_code = 74


class _SpecReader(pickle.Unpickler):
    """Reads specs, and runs nothing that is not theirs."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if _SAFE.fullmatch(module) and "." not in name else None
        if (module, name) in _REBUILD:
            return super().find_class(module, name)
        if not isinstance(found, type) or found.__module__ != module:
            raise BadInput(f"the specs of a bundle speak of {module}.{name}.", remedy="Make it with tori task ship.")
        return found


def python_version() -> str:
    """Return the version of Python that code is pickled for."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def pack(name: str, specs: Iterable[TaskSpec], functions: Mapping[str, bytes]) -> bytes:
    """Return a bundle as it travels; raises BadInput when it is too large or empty, BadSettings when its tasks go in a circle."""
    chosen = tuple(sorted(specs, key=lambda spec: spec.task_id))
    refuse_circles({spec.task_id: spec.trigger for spec in chosen})
    data = msgspec.msgpack.encode(Bundle(name, python_version(), pickle.dumps(chosen), dict(sorted(functions.items()))))
    if not 1 <= len(chosen) <= MAX_TASKS or len(data) > MAX_BUNDLE_BYTES:
        raise BadInput(
            f"{name} has {len(chosen)} tasks in {len(data):,} bytes; a bundle holds 1 to {MAX_TASKS} in {MAX_BUNDLE_BYTES:,}.",
            remedy="Split the file; keep data out of its functions.",
        )
    return data


def unpack(data: bytes, leave_out: Callable[[str, ToriError], None] | None = None) -> tuple[ShippedTask, ...]:
    """Return the tasks in a bundle, with their specs checked again; raises BadInput or BadSettings for what cannot be one.

    ``leave_out`` is told of tasks that do not pass, by id, and the others are returned: an earlier version took them.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise BadInput(f"the bundle has {len(data):,} bytes, more than {MAX_BUNDLE_BYTES:,}.", remedy="Split the file.")
    try:
        bundle = msgspec.msgpack.decode(data, type=Bundle)
        specs = _SpecReader(io.BytesIO(bundle.specs)).load()
    except (BadInput, BadSettings):
        raise
    except Exception as error:  # bytes from elsewhere make an unpickler raise anything
        raise BadInput(f"that is no bundle of tasks: {error}.", remedy="Make it with tori task ship.") from error
    if bundle.python != python_version():
        raise BadInput(
            f"{bundle.name} was packed by Python {bundle.python}, this cluster runs {python_version()}.",
            remedy="Ship it with the cluster's version of Python.",
        )
    if not isinstance(specs, tuple) or not all(map(_is_users, specs)):
        raise BadInput("the specs of the bundle are no user's tasks.", remedy="Make it with tori task ship.")
    if {spec.task_id for spec in specs} != bundle.functions.keys() or not specs:
        raise BadInput("the bundle has not one function a spec.", remedy="Make it with tori task ship.")
    digest = sha256(data).hexdigest()
    found = []
    for spec in specs:
        try:
            found.append(ShippedTask(_checked(spec), digest, bundle.functions[spec.task_id]))
        except (BadInput, BadSettings) as error:
            if leave_out is None:
                raise
            leave_out(spec.task_id, error)
    return tuple(found)


def _is_users(spec: object) -> bool:
    """Whether something is a spec of a user's task; unpickling may leave fields out."""
    return (
        isinstance(spec, TaskSpec)
        and getattr(spec, "task_type", None) == USER
        and isinstance(getattr(spec, "task_id", None), str)
    )


def _checked(spec: TaskSpec) -> TaskSpec:
    """Return a spec after the checks that its making would have done: unpickling skips them. Raises BadInput or BadSettings."""
    try:
        for part in (spec.resources, spec.retry, spec.trigger, spec.fallback):
            check = getattr(part, "__post_init__", None)
            if check is not None:
                check()
        return TaskSpec(**{field.name: getattr(spec, field.name) for field in fields(TaskSpec)})
    except (BadInput, BadSettings):
        raise
    except Exception as error:  # a part of it is missing, or is a class
        raise BadInput(
            f"the specs of the bundle are damaged: {error}.", remedy="Make it with tori task ship."
        ) from error


class CodeStore:
    """Bundles by the sha256 of their bytes."""

    def __init__(self, home: Path, files: Files = SYSTEM_FILES) -> None:
        self.root = home / FOLDER
        self._files = files

    def put(self, data: bytes) -> str:
        """Keep a bundle, durably; return its name. One that is there already is left as it is."""
        digest = sha256(data).hexdigest()
        path = self.root / digest
        if not self._is_good(path, digest):
            self._files.make_directory(self.root)
            self._files.sync_directory(self.root.parent)
            replace(self._files, path, data)
        return digest

    def get(self, digest: str) -> bytes:
        """Return a bundle; raises CodeDamaged when it is not there or not what its name says."""
        path = self.root / digest
        if not self._is_good(path, digest):
            raise CodeDamaged(f"the code {path} is not there, or is damaged.", remedy="Ship its file again.")
        return self._files.read(path)

    def _is_good(self, path: Path, digest: str) -> bool:
        return self._files.exists(path) and sha256(self._files.read(path)).hexdigest() == digest


def newest(records: Iterable[CodeShipped]) -> dict[str, str]:
    """Return by task the bundle it was shipped in last; a later bundle of the same file takes what it does not have away."""
    found: dict[str, tuple[str, str]] = {}
    for record in records:
        found = {task: where for task, where in found.items() if where[0] != record.name}
        found |= dict.fromkeys(record.task_ids, (record.name, record.sha256))
    return {task: digest for task, (_, digest) in found.items()}
