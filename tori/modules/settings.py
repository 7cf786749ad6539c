"""The settings Structs of the modules: ``XSettings`` in ``tori.modules.x.settings``, found by the module's name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec


def settings_struct(module: str) -> type[msgspec.Struct] | None:
    """Return the settings Struct of a module, or None when it has none."""
    path = f"tori.modules.{module}.settings"
    package = find_spec(f"tori.modules.{module}")
    if package is None or not any((Path(p) / "settings.py").exists() for p in package.submodule_search_locations or ()):
        return None  # found out without importing the module, which a door that reads settings has no use for
    found = [
        value
        for value in vars(import_module(path)).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == path
    ]
    return found[0] if found else None


def module_settings(module: str, plain: Mapping[str, Any]) -> msgspec.Struct | None:
    """Return the settings of a module out of ``Settings.plain()``, or None when it has none. Imports no pydantic."""
    struct = settings_struct(module)
    return None if struct is None else struct(**plain["modules"][module])
