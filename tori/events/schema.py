"""JSON Schema of the catalogue, for the form events have outside (CloudEvents, payloads as objects).

Types appear by name, never by number; bytes are hex strings. Fields are described by the text under them in the source.
"""

from __future__ import annotations

import ast
import inspect as source
import textwrap
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import inspect

from tori.events.catalogue import ENTRIES, Entry
from tori.events.cloudevents import TYPE_PREFIX

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_CONTEXT: dict[str, dict[str, Any]] = {
    "specversion": {"const": "1.0"},
    "id": _ID | {"description": "Event id: 16 bytes in hex, time-ordered."},
    "source": {"type": "string", "format": "uri-reference", "minLength": 1, "description": "The producer."},
    "type": {"type": "string", "description": "tori. and the name of the event type."},
    "subject": {"type": "string", "minLength": 1, "description": "Ordering key."},
    "time": {"type": "string", "format": "date-time", "description": "The time inside the id."},
    "datacontenttype": {"const": "application/json"},
    "correlationid": _ID | {"description": "The event that began the story."},
    "causes": {
        "type": "string",
        "pattern": "^[0-9a-f]{32}( [0-9a-f]{32})*$",
        "description": "Ids of the events this one follows from.",
    },
    "traceparent": {"type": "string", "minLength": 1, "description": "W3C trace context."},
    "origin": {"type": "string", "minLength": 1, "description": "Name of the idempotent producer."},
    "originseq": {"type": "string", "pattern": "^[0-9]+$", "description": "The producer's own number."},
    "schemaversion": {"type": "integer", "minimum": 1},
    "priority": {"type": "integer", "minimum": 0, "maximum": 4, "description": "0 critical to 4 background."},
    "position": {"type": "string", "pattern": ":[0-9]+:[0-9]+$", "description": "journal:epoch:sequence."},
}
_REQUIRED = ["specversion", "id", "source", "type", "position", "data"]


def catalogue_schema() -> dict[str, Any]:
    """Return the JSON Schema of every event as a CloudEvent; ``$defs`` holds one schema a payload, by type name."""
    definitions: dict[str, Any] = {}
    for entry in ENTRIES:
        _define(inspect.type_info(entry.payload), definitions)
    return {
        "$schema": DIALECT,
        "title": "TORI events",
        "description": "CloudEvents 1.0, structured mode; generated from tori/events/catalogue.py.",
        "type": "object",
        "properties": _CONTEXT,
        "required": _REQUIRED,
        "oneOf": [_binding(entry) for entry in ENTRIES],
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }


def field_meanings(struct: type) -> dict[str, str]:
    """Return what the source says under each field of a Struct, inherited fields included, as one line each."""
    meanings: dict[str, str] = {}
    for cls in reversed(struct.__mro__):
        if issubclass(cls, msgspec.Struct) and cls is not msgspec.Struct:
            meanings |= field_texts(cls)
    return meanings


def field_texts(cls: type) -> dict[str, str]:
    """Return what the source says under each field that a class itself declares, as one line each."""
    (body,) = ast.parse(textwrap.dedent(source.getsource(cls))).body
    statements = body.body if isinstance(body, ast.ClassDef) else []
    return {
        field.target.id: " ".join(str(ast.literal_eval(text.value)).split())
        for field, text in pairwise(statements)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }


def type_name(node: inspect.Type) -> str:
    """Return a field's type in words of JSON, for tables: ``string``, ``[number]``, ``string or null``."""
    match node:
        case inspect.UnionType():
            return " or ".join(type_name(t) for t in node.types)
        case inspect.VarTupleType():
            return f"[{type_name(node.item_type)}]"
        case inspect.DictType():
            return f"{{{type_name(node.value_type)}}}"
        case inspect.StructType():
            return node.cls.__name__
        case inspect.BytesType():
            return "hex"
        case _:
            return str(_scalar(node).get("type", "any"))


def _binding(entry: Entry) -> dict[str, Any]:
    return {
        "properties": {"type": {"const": TYPE_PREFIX + entry.type}, "data": {"$ref": f"#/$defs/{entry.type}"}},
    }


def _define(node: inspect.Type, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; Structs are put into ``definitions`` and referred to."""
    match node:
        case inspect.StructType():
            name = node.cls.__name__
            if name not in definitions:
                definitions[name] = {}
                definitions[name] = _struct(node, definitions)
            return {"$ref": f"#/$defs/{name}"}
        case inspect.UnionType():
            return {"anyOf": [_define(t, definitions) for t in node.types]}
        case inspect.VarTupleType():
            return {"type": "array", "items": _define(node.item_type, definitions)}
        case inspect.DictType():
            return {"type": "object", "additionalProperties": _define(node.value_type, definitions)}
        case inspect.BytesType():
            return {"type": "string", "pattern": "^([0-9a-fA-F]{2})*$"}
        case _:
            return _scalar(node)


def _scalar(node: inspect.Type) -> dict[str, Any]:
    names = {
        inspect.StrType: "string",
        inspect.IntType: "integer",
        inspect.FloatType: "number",
        inspect.BoolType: "boolean",
        inspect.NoneType: "null",
    }
    name = names.get(type(node))
    return {"type": name} if name else {}


def _struct(node: inspect.StructType, definitions: dict[str, Any]) -> dict[str, Any]:
    meanings = field_meanings(node.cls)
    properties = {}
    for field in node.fields:
        properties[field.name] = _define(field.type, definitions)
        if field.name in meanings:
            properties[field.name] = properties[field.name] | {"description": meanings[field.name]}
    return {
        "title": node.cls.__name__,
        "description": " ".join((source.getdoc(node.cls) or "").split()),
        "type": "object",
        "properties": properties,
        "required": [field.name for field in node.fields if field.required],
        "additionalProperties": False,
    }
