"""Payloads as plain JSON values and back: objects with field names, bytes as hex, nothing JSON cannot say.

The wire form (``tori.events.codec``) is positional and fast; this one is for people, browsers and other systems. Both
directions check every value against the field's type and name the field that does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
from msgspec import inspect

from tori.errors import BadInput
from tori.events.catalogue import PAYLOAD_TYPES

MAX_DEPTH = 32
"""Deepest nesting of free JSON (``CustomEvent.data``)."""
_INT_RANGE = (-(2**63), 2**64 - 1)
_WORDS = {
    dict: "an object",
    list: "an array",
    tuple: "an array",
    str: "a string",
    bool: "a boolean",
    type(None): "null",
}


def to_plain(payload: Any, path: str = "data") -> dict[str, Any]:
    """Return a payload as a JSON object; raises BadInput naming the field whose value has no place in JSON or its type."""
    plain: dict[str, Any] = _write(_node(type(payload)), payload, path)
    return plain


def from_plain(payload_type: Any, data: Any, path: str = "data") -> Any:
    """Return the payload that ``data`` describes; raises BadInput naming the field that is unknown, missing or wrong."""
    return _read(_node(payload_type), data, path)


_NODES: dict[Any, inspect.Type | None] = dict.fromkeys(PAYLOAD_TYPES)
"""The fields of each event type, read when it is met: to read all would take every process that starts 15 ms."""


def _node(payload_type: Any) -> inspect.Type:
    node = _NODES.get(payload_type)
    if node is None:
        if payload_type not in _NODES:
            raise BadInput(f"{payload_type!r} is not an event type.", remedy="docs/events.md lists them.")
        node = _NODES[payload_type] = inspect.type_info(payload_type)
    return node


def _refuse(path: str, expected: str, value: Any) -> NoReturn:
    found = "a number" if type(value) in {int, float} else _WORDS.get(type(value), type(value).__name__)
    raise BadInput(f"{path}: expected {expected}, not {found}.", remedy="docs/events.md lists the fields.")


def _string(_: inspect.Type, value: Any, path: str) -> str:
    if not isinstance(value, str):
        _refuse(path, "a string", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            flaw = f"{path}: character {error.start} is half a surrogate pair, not text."
            raise BadInput(flaw, remedy="Decode it as UTF-8 first.") from error
    return value


def _integer(_: inspect.Type, value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(path, "an integer", value)
    if not _INT_RANGE[0] <= value <= _INT_RANGE[1]:
        raise BadInput(f"{path}: {value} does not fit 64 bits.", remedy="Send it as a string.")
    return value


def _number(_: inspect.Type, value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        _refuse(path, "a number", value)
    if not math.isfinite(value):
        flaw = f"{path}: {value} is not a finite number; JSON has no word for it."
        raise BadInput(flaw, remedy="Leave it out, or send null.")
    return float(value)


def _free(_: inspect.Type, value: Any, path: str, depth: int = 0) -> Any:
    """Check any JSON value."""
    if depth > MAX_DEPTH:
        raise BadInput(f"{path}: nested more than {MAX_DEPTH} deep.", remedy="Flatten it.")
    match value:
        case None | bool():
            return value
        case str():
            return _string(_, value, path)
        case int():
            return _integer(_, value, path)
        case float():
            return _number(_, value, path)
        case list() | tuple():
            return [_free(_, item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        case dict():
            return {_string(_, k, f"{path} key"): _free(_, v, f"{path}.{k}", depth + 1) for k, v in value.items()}
    _refuse(path, "a JSON value", value)


_Scalar = Callable[[inspect.Type, Any, str], Any]
_SCALARS: dict[type[inspect.Type], _Scalar] = {
    inspect.StrType: _string,
    inspect.IntType: _integer,
    inspect.FloatType: _number,
    inspect.CustomType: _free,  # object, the only one fields use
}
"""Types whose JSON form is their own."""


def _option(node: inspect.UnionType) -> inspect.Type:
    """Return X of ``X | None``, the only union payload fields use."""
    (option,) = (t for t in node.types if not isinstance(t, inspect.NoneType))
    return option


def _write(node: inspect.Type, value: Any, path: str) -> Any:
    match node:
        case inspect.StructType():
            if type(value) is not node.cls:
                _refuse(path, node.cls.__name__, value)
            return {f.name: _write(f.type, getattr(value, f.name), f"{path}.{f.name}") for f in node.fields}
        case inspect.BytesType():
            if not isinstance(value, bytes | bytearray | memoryview):
                _refuse(path, "bytes", value)
            return value.hex()
        case _:
            return _walk(node, value, path, _write)


def _read(node: inspect.Type, value: Any, path: str) -> Any:
    match node:
        case inspect.StructType():
            return _read_struct(node, value, path)
        case inspect.BytesType():
            return read_hex(value, path)
        case _:
            found = _walk(node, value, path, _read)
            return tuple(found) if isinstance(node, inspect.VarTupleType) else found


def _walk(node: inspect.Type, value: Any, path: str, step: Callable[[inspect.Type, Any, str], Any]) -> Any:
    match node:
        case inspect.UnionType():
            return None if value is None else step(_option(node), value, path)
        case inspect.VarTupleType():
            if not isinstance(value, list | tuple):
                _refuse(path, "an array", value)
            return [step(node.item_type, item, f"{path}[{i}]") for i, item in enumerate(value)]
        case inspect.DictType():
            if not isinstance(value, dict):
                _refuse(path, "an object", value)
            return {
                _string(node.key_type, k, f"{path} key"): step(node.value_type, v, f"{path}.{k}")
                for k, v in value.items()
            }
        case _:
            return _SCALARS[type(node)](node, value, path)


def _read_struct(node: inspect.StructType, value: Any, path: str) -> msgspec.Struct:
    name = node.cls.__name__
    if not isinstance(value, dict):
        _refuse(path, f"an object ({name})", value)
    known = {field.name: field for field in node.fields}
    for key in value:
        if key not in known:
            raise BadInput(f"{path}.{key}: {name} has no such field.", remedy=f"It has: {', '.join(known)}.")
    for field in node.fields:
        if field.required and field.name not in value:
            raise BadInput(f"{path}.{field.name}: missing; {name} needs it.", remedy="docs/events.md lists the fields.")
    read = {key: _read(known[key].type, item, f"{path}.{key}") for key, item in value.items()}
    struct: msgspec.Struct = node.cls(**read)
    return struct


def read_hex(value: Any, path: str) -> bytes:
    """Return the bytes that a hex string names; raises BadInput naming ``path``."""
    if not isinstance(value, str):
        _refuse(path, "bytes as a hex string", value)
    try:
        found = bytes.fromhex(value)
    except ValueError as error:
        raise BadInput(f"{path}: not hex: {error}.", remedy="Copy it whole, hex digits only.") from error
    if len(found) * 2 != len(value):
        raise BadInput(f"{path}: white space in a hex string.", remedy="Copy it whole, hex digits only.")
    return found
