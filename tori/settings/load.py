"""Where settings come from: defaults, then ``tori.toml`` in the home, then ``TORI_`` variables, then the command line.

A variable names section and key with two underscores between: ``TORI_RAY__CPUS=2``, ``TORI_MODULES__WORMHOLE__FDR=0.1``.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tori.alerts.address import SECRET, place_of, secret_of
from tori.errors import BadSettings
from tori.settings.describe import leaves, sections
from tori.settings.section import Settings

FILE = "tori.toml"
PREFIX = "TORI_"
COMMAND_LINE = "command line"
_HOME = "TORI_HOME"


def load_settings(
    home: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings of ``home`` (default: TORI_HOME, else ``~/.tori``); ``overrides`` by dotted name win over all.

    Raises BadSettings that names the place (file, variable), the key and the nearest valid key or what the value must be.
    """
    given = os.environ if environment is None else environment
    place = Path(home or given.get("TORI_HOME") or Path.home() / ".tori").expanduser().absolute()
    if place.exists() and not place.is_dir():
        raise BadSettings(
            f"{place} cannot be a home: it is not a directory.", remedy="Choose another with --home or TORI_HOME."
        )
    path = place / FILE
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in (_from_file(path), _from_environment(given), _from_caller(overrides or {})):
        for name, (value, origin) in layer.items():
            _refuse_unknown(name, origin)
            values[name] = value
            origins[name] = origin
    try:
        settings = Settings.model_validate({"home": place, **_nested(values)})
    except ValidationError as error:
        raise _bad_value(error.errors()[0], origins) from None
    settings._origins.update(origins)
    if settings.alerts.webhook_url:
        place_of(settings.alerts.webhook_url)
        secret_of(given.get(SECRET, ""))
    return settings


Layer = dict[str, tuple[Any, str]]
"""Dotted name -> (value, origin)."""


def _from_file(path: Path) -> Layer:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadSettings(
            f"{path} cannot be read: {error}.", remedy="Correct it; every setting is in docs/settings.md."
        ) from error
    known = dict(sections(Settings))
    found: Layer = {}

    def walk(table: Mapping[str, Any], prefix: str) -> None:
        for key, value in table.items():
            if isinstance(value, dict) and prefix + key in known:
                walk(value, f"{prefix}{key}.")
            else:
                found[prefix + key] = (value, str(path))

    walk(tables, "")
    return found


def _from_environment(environment: Mapping[str, str]) -> Layer:
    for variable in sorted(environment):
        _refuse_misspelt(variable)
    return {
        variable.removeprefix(PREFIX).lower().replace("__", "."): (value, variable)
        for variable, value in sorted(environment.items())
        if variable.startswith(PREFIX) and "__" in variable
    }


def _refuse_misspelt(variable: str) -> None:
    """Raise BadSettings for a variable that looks like a setting's and is none: one underscore too few would go unnoticed."""
    if not variable.startswith(PREFIX) or "__" in variable or variable == _HOME:
        return
    names = [_HOME, *(f"{PREFIX}{name.upper().replace('.', '__')}" for name, _ in leaves(Settings) if name != "home")]
    groups = {f"{PREFIX}{name.upper()}_" for name in Settings.model_fields}
    is_meant = variable.startswith(tuple(groups)) or difflib.get_close_matches(variable, [_HOME], cutoff=0.85)
    if is_meant:
        near = difflib.get_close_matches(variable, names, n=1, cutoff=0.0)
        raise BadSettings(f"there is no variable {variable}.", remedy=f"Did you mean {near[0]}?", key=variable)


def _from_caller(overrides: Mapping[str, Any]) -> Layer:
    return {name: (value, COMMAND_LINE) for name, value in overrides.items()}


def _refuse_unknown(name: str, origin: str) -> None:
    names = [known for known, _ in leaves(Settings) if known != "home"]
    groups = [group for group, _ in sections(Settings)]
    if name in names:
        return
    if name == "home":
        raise BadSettings(f"{origin}: home cannot be set there.", remedy="Use --home or TORI_HOME.", key=name)
    if name in groups:
        raise BadSettings(
            f"{origin}: {name} is a section, not a value.", remedy=f"Write [{name}], keys below.", key=name
        )
    elsewhere = [known for known in names if known.rpartition(".")[2] == name.rpartition(".")[2]]
    near = elsewhere or difflib.get_close_matches(name, names + groups, n=1, cutoff=0.0)
    raise BadSettings(f"{origin}: there is no setting {name}.", remedy=f"Did you mean {near[0]}?", key=name)


def _bad_value(error: ErrorDetails, origins: Mapping[str, str]) -> BadSettings:
    """Return one validation error as a sentence: place, key, value, rule."""
    name = next(iter(_prefixes(error["loc"], origins)), ".".join(map(str, error["loc"])))
    rule = error["msg"][:1].lower() + error["msg"][1:]
    return BadSettings(
        f"{origins.get(name, COMMAND_LINE)}: {name} = {error['input']!r} is not valid: {rule}.",
        remedy="docs/settings.md says what it may be.",
        key=name,
    )


def _prefixes(location: tuple[int | str, ...], origins: Mapping[str, str]) -> list[str]:
    """Return the settings that a location lies in (it may go on into a list)."""
    words = list(map(str, location))
    return [name for size in range(len(words), 0, -1) if (name := ".".join(words[:size])) in origins]


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = value
    return tree
