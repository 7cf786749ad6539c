"""Settings as rows, for ``tori config show`` and docs/settings.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from pydantic import BaseModel
from pydantic.fields import FieldInfo

DEFAULT = "default"


class Row(TypedDict):
    """One setting. ``origin`` is ``default``, the file, the variable or ``command line``."""

    name: str
    value: Any
    unit: str
    default: Any
    origin: str
    reason: str


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every setting below ``model`` as (dotted name, field)."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every section below ``model`` that has settings of its own, as (dotted name, section)."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield prefix + name, section
            yield from sections(section, f"{prefix}{name}.")


def rows(settings: BaseModel, origins: Mapping[str, str]) -> list[Row]:
    """Return a row for every setting, in the order of the sections."""
    values = settings.model_dump(mode="json")
    return [
        Row(
            name=name,
            value=_at(values, name),
            unit=unit_of(field),
            default=None if field.is_required() else field.default,
            origin=origins.get(name, DEFAULT),
            reason=field.description or "",
        )
        for name, field in leaves(type(settings))
    ]


def unit_of(field: FieldInfo) -> str:
    """Return the unit a field states, or an empty string."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _at(values: Mapping[str, Any], name: str) -> Any:
    found: Any = values
    for part in name.split("."):
        found = found[part]
    return found
