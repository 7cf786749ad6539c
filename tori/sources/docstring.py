"""The documentation inside one Python module, read from its source with ``ast``: nothing is imported, nothing runs."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

LONGEST_SIGNATURE = 240
"""Characters of a signature that are shown."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Entry:
    """One documented object: ``path`` inside its module (``Class.method``), how it is called, its docstring."""

    path: str
    call: str
    """``(self, x, y=1)`` for a function, empty for a class or property."""
    text: str


@dataclass
class Parsed:
    """What a module's source says about its documentation."""

    text: str = ""
    """The module's own docstring."""
    objects: dict[str, list[Entry]] = field(default_factory=dict)
    """Documented objects by the module-level name that owns them: a function, or a class and its methods."""
    exports: frozenset[str] | None = None
    """``__all__`` where it is written out."""
    taken: list[tuple[str, str, str]] = field(default_factory=list)
    """(module, name or ``*``, name here) for every ``from module import name``, absolute."""
    imported: set[str] = field(default_factory=set)
    """Dotted names of modules it imports, or may import (``from a import b`` gives a and a.b)."""

    def is_public(self, name: str) -> bool:
        """Return whether ``name`` is part of what the module offers."""
        return name in self.exports if self.exports is not None else not name.startswith("_")


def parse(source: bytes, module: str, *, is_package: bool) -> Parsed:
    """Return the documentation in ``source`` of the module with dotted name ``module``.

    Raises SyntaxError, or ValueError for source with NUL bytes, when it is no Python of this interpreter's version.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    parsed = Parsed(text=_docstring(tree))
    package = module if is_package else module.rpartition(".")[0]
    for node in _statements(tree.body):
        if isinstance(node, _Function | ast.ClassDef):
            entries = list(_entries(node))
            if entries:
                parsed.objects.setdefault(node.name, entries)
        elif isinstance(node, ast.Import):
            parsed.imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            _take(parsed, node, package)
        else:
            _export(parsed, node)
    return parsed


def resolved(modules: Mapping[str, Parsed], module: str, name: str, depth: int = 5) -> list[Entry]:
    """Return the entries of ``name`` in ``module``, following ``from x import y`` inside ``modules``."""
    parsed = modules.get(module)
    if parsed is None or depth == 0:
        return []
    if name in parsed.objects:
        return parsed.objects[name]
    for origin, taken, here in parsed.taken:
        if here == name or taken == "*":
            entries = resolved(modules, origin, name if taken == "*" else taken, depth - 1)
            if entries:
                return entries
    return []


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield module-level statements, those under ``if`` and ``try`` included."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements(node.body)
            yield from _statements(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _statements(node.body)
            for handler in node.handlers:
                yield from _statements(handler.body)
        else:
            yield node


def _entries(node: ast.stmt) -> Iterator[Entry]:
    if isinstance(node, ast.ClassDef):
        text = _docstring(node)
        if text:
            yield Entry(node.name, "", text)
        seen: set[str] = set()
        for member in node.body:
            if isinstance(member, _Function) and not member.name.startswith("_") and member.name not in seen:
                text = _docstring(member)
                if text:
                    seen.add(member.name)
                    call = "" if _is_property(member) else _call(member.args)
                    yield Entry(f"{node.name}.{member.name}", call, text)
    elif isinstance(node, _Function):
        text = _docstring(node)
        if text:
            yield Entry(node.name, _call(node.args), text)


def _docstring(node: ast.Module | ast.ClassDef | _Function) -> str:
    first = node.body[0] if node.body else None
    if not (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    ):
        return ""
    # A docstring may spell any code point; a document's text is what UTF-8 can carry.
    text = first.value.value.encode("utf-8", "replace").decode().replace("\0", "")
    return inspect.cleandoc(text).strip()


def _is_property(node: _Function) -> bool:
    names = (d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "") for d in node.decorator_list)
    return any(name.endswith("property") for name in names)


def _call(arguments: ast.arguments) -> str:
    """Return the parameters with short defaults and without annotations, as a reader says them."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    parts = []
    for index, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        parts.append(argument.arg + _default(default))
        if index + 1 == len(arguments.posonlyargs):
            parts.append("/")
    if arguments.vararg:
        parts.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        parts.append("*")
    parts += [a.arg + _default(d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        parts.append(f"**{arguments.kwarg.arg}")
    text = ", ".join(parts)
    return f"({text if len(text) <= LONGEST_SIGNATURE else text[: LONGEST_SIGNATURE - 1] + '…'})"


def _default(node: ast.expr | None) -> str:
    if node is None:
        return ""
    if isinstance(node, ast.Constant):
        shown = repr(node.value)
        return f"={shown}" if len(shown) <= 24 else "=..."
    return f"={node.id}" if isinstance(node, ast.Name) else "=..."


def _take(parsed: Parsed, node: ast.ImportFrom, package: str) -> None:
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        if node.level > len(parts):
            return
        base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
    parsed.imported.add(base)
    for alias in node.names:
        parsed.taken.append((base, alias.name, alias.asname or alias.name))
        if alias.name != "*":
            parsed.imported.add(f"{base}.{alias.name}")


def _export(parsed: Parsed, node: ast.stmt) -> None:
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AugAssign | ast.AnnAssign) and node.value is not None:
        targets, value = [node.target], node.value
    else:
        return
    if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets) and isinstance(value, ast.List | ast.Tuple):
        names = {e.value for e in value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)}
        parsed.exports = frozenset(names | (parsed.exports or frozenset()))
