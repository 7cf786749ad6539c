"""The knobs of the modules, taken over from their own settings Structs: a module names each of them once.

Each becomes the section ``modules.x`` with the types, defaults and reasons it has there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from tori.modules.registry import START_ORDER
from tori.modules.settings import settings_struct

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
SOURCES: dict[type[BaseModel], type[msgspec.Struct]] = {}
"""Which Struct a section was taken over from: its reasons are said there."""
_UNITS = {"_bytes": "bytes", "_s": "s", "_days": "days", "_years": "years", "_characters": "characters"}


def _section(name: str, struct: type[msgspec.Struct]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        unit = next((word for suffix, word in _UNITS.items() if field.name.endswith(suffix)), "")
        lowest: dict[str, Any] = {"ge": 0} if field.type in (int, float) else {}
        info = Field(field.default, json_schema_extra={"unit": unit}, **lowest)
        fields[field.name] = (field.type, info)
    title = f"{name.capitalize()}Settings"
    section: type[BaseModel] = create_model(title, __config__=_STRICT, __doc__=f"The {name} module.", **fields)
    SOURCES[section] = struct
    return section


if TYPE_CHECKING:

    class ModuleSettings(BaseModel):
        """A section for each module that has settings."""

else:
    _sections = {name: _section(name, struct) for name in START_ORDER if (struct := settings_struct(name))}
    ModuleSettings = create_model(
        "ModuleSettings",
        __config__=_STRICT,
        __doc__="A section for each module that has settings.",
        **{name: (section, section()) for name, section in _sections.items()},
    )
