"""Modules that users bring: a class of their own, run beside the mind's as one more actor with its own journal.

    from tori.modules.base import Module
    from tori.modules.user import module

    @module(follows=("clients", "alien"))
    class Counting(Module):
        name = "counting"
        ...

The setting ``user.modules`` names the Python modules such classes stand in; every process of the system imports them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tori.errors import BadInput, BadSettings
from tori.modules.base import Module
from tori.modules.registry import PATHS, register_module

M = TypeVar("M", bound=type[Module])
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def module(*, follows: Sequence[str]) -> Callable[[M], M]:
    """Register a class as a module of every system; it stays the class it was.

    ``follows``: the journals it takes its inputs from. Raises BadSettings for what no other process could find or run.
    """

    def register(cls: M) -> M:
        _check_class(cls)
        try:
            register_module(cls.name, f"{cls.__module__}:{cls.__qualname__}", follows)
        except BadInput as error:
            raise BadSettings(error.message, remedy=error.remedy) from None
        return cls

    return register


def _check_class(cls: Any) -> None:
    if not isinstance(cls, type) or not issubclass(cls, Module):
        raise BadSettings(f"{cls!r} is no Module.", remedy="Derive it from tori.modules.base.Module.")
    if "." in cls.__qualname__ or cls.__module__ == "__main__":
        raise BadSettings(
            f"{cls.__qualname__} stands where no other process could find it.",
            remedy="Move it to the top of a module that every node can import.",
        )
    if not _NAME.fullmatch(getattr(cls, "name", "")):
        raise BadSettings(
            f"{cls.__qualname__} has no name that a journal can have.",
            remedy='Give it one: name = "counting"; small letters, digits and _.',
        )


def load_modules(settings: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Import what the setting ``user.modules`` names; return the names of the modules that stand there.

    Raises BadSettings for what cannot be imported or has no module.
    """
    found: list[str] = []
    for package in filter(None, (n.strip() for n in (settings or {}).get("user", {}).get("modules", "").split(","))):
        try:
            importlib.import_module(package)
        except BadSettings:
            raise
        except Exception as error:
            raise BadSettings(
                f"user.modules: {package} cannot be imported: {type(error).__name__}: {error}",
                remedy="Is it installed, or on PYTHONPATH?",
            ) from error
        own = [name for name, path in PATHS.items() if path.partition(":")[0] == package]
        if not own:
            raise BadSettings(
                f"user.modules: there is no module in {package}.", remedy="Decorate a class with @module(follows=...)."
            )
        found += own
    return tuple(found)
