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
    said = reasons(type(settings))
    return [
        Row(
            name=name,
            value=_at(values, name),
            unit=unit_of(field),
            default=None if field.is_required() else field.default,
            origin=origins.get(name, DEFAULT),
            reason=said.get(name, ""),
        )
        for name, field in leaves(type(settings))
    ]


def reasons(model: type[BaseModel]) -> dict[str, str]:
    """Return by dotted name why each default below ``model`` is what it is: the text under the field, read from the source now.

    pydantic could keep it in its fields, but would read the sources at every start of a door for that.
    """
    from tori.events.schema import field_texts
    from tori.settings.module import SOURCES

    found: dict[str, str] = {}
    for name, section in (("", model), *sections(model)):
        if any("." not in key for key, _ in leaves(section)):
            texts = field_texts(SOURCES.get(section, section))
            found |= {f"{name}.{field}".lstrip("."): text for field, text in texts.items()}
    return found


def unit_of(field: FieldInfo) -> str:
    """Return the unit a field states, or an empty string."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _at(values: Mapping[str, Any], name: str) -> Any:
    found: Any = values
    for part in name.split("."):
        found = found[part]
    return found
