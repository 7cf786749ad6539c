"""User's tasks over distance: a file's functions pickled by value here, run by workers there."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import cloudpickle
import ray
from ray.exceptions import RayTaskError

from actors.failure import brief_error
from tori.errors import BadInput, BadSettings
from tori.modules.registry import forget_modules
from tori.scheduler.shipped import MAX_BUNDLE_BYTES, ShippedTask, pack, unpack
from tori.scheduler.user import forget, registered_in

PREFIX = "tori_shipped_"
CHECK_TIMEOUT_S = 60.0


def pack_file(path: Path) -> bytes:
    """Return the tasks that stand in a Python file as a bundle. The file is run, here.

    Raises BadInput for a file that cannot be imported, has no task, or closes over what cannot travel; BadSettings for a decorator or a
    spec that makes no sense.
    """
    module = _imported(path)
    try:
        modules, tasks = forget_modules(module.__name__), registered_in(module.__name__)
        if modules:
            raise BadInput(
                f"{path} has the module {modules[0]}: its processes import it by name, so it cannot travel like a task.",
                remedy="Install its package on every node and name it in user.modules; ship tasks from a file of their own.",
            )
        if not tasks:
            raise BadInput(f"there is no task in {path}.", remedy="Decorate a function with @task(...).")
        functions = {one.spec.task_id: _pickled(getattr(module, one.name), one.spec.task_id) for one in tasks}
        return pack(path.stem, (one.spec for one in tasks), functions)
    finally:
        forget(module.__name__)
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules[module.__name__]


class _AsWritten(SourceFileLoader):
    """Compiles a file as it is now: bytecode beside it would also do for another text of one length, written in the same second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _imported(path: Path) -> ModuleType:
    """Run a file as a module of its own, whose functions are pickled by value."""
    if path.suffix != ".py" or not path.is_file() or not path.stem.isidentifier():
        raise BadInput(f"{path} is no Python file that could be a module.", remedy="Name a file such as jobs.py.")
    name = PREFIX + path.stem
    spec = importlib.util.spec_from_file_location(name, path, loader=_AsWritten(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    cloudpickle.register_pickle_by_value(module)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        forget(name)
        forget_modules(name)
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules[name]
        if isinstance(error, BadSettings) or not isinstance(error, Exception):
            raise
        raise BadInput(
            f"{path} cannot be imported: {type(error).__name__}: {error}", remedy="Mend it first."
        ) from error
    return module


def _pickled(function: Any, task_id: str) -> bytes:
    try:
        data: bytes = cloudpickle.dumps(function)
    except Exception as error:  # whatever a user's object does when it is pickled
        raise BadInput(
            f"task {task_id} cannot travel: {type(error).__name__}: {error}",
            remedy="Open files, locks and connections inside the function, not beside it.",
        ) from error
    if len(data) > MAX_BUNDLE_BYTES:
        raise BadInput(f"task {task_id} has {len(data):,} bytes.", remedy="Keep data out of functions.")
    return data


def check_there(data: bytes) -> tuple[ShippedTask, ...]:
    """Return the tasks of a bundle once a worker of the cluster could open every function; raises BadInput naming one it cannot."""
    tasks = unpack(data)
    remote = ray.remote(num_cpus=0, name="tori.check_code", max_retries=0)(open_all)
    try:
        ray.get(remote.remote([(task.spec.task_id, task.function) for task in tasks]), timeout=CHECK_TIMEOUT_S)
    except RayTaskError as error:
        raise BadInput(
            f"the cluster cannot open the bundle: {brief_error(error)}", remedy="Install there what the file imports."
        ) from error
    return tasks


def open_all(functions: list[tuple[str, bytes]]) -> None:
    """Open pickled functions, and run none; raises BadInput naming the task that cannot be opened."""
    for task_id, data in functions:
        try:
            cloudpickle.loads(data)
        except Exception as error:
            raise BadInput(f"task {task_id}: {type(error).__name__}: {error}") from error
