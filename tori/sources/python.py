"""The documentation of Python itself and of installed packages as a source: one document a module.

A document is the module's docstring, then for each public documented object its qualified name with its signature and
its docstring; every object is a section. What a public module takes from a private one (``numpy.linalg`` from
``numpy.linalg._linalg``) is documented where it is offered. Read with ``ast``: nothing is imported, nothing runs.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tori.errors import BadInput
from tori.events.document import Document, Section
from tori.sources.base import LARGEST_TEXT_BYTES, Refusal, Source
from tori.sources.docstring import Entry, Parsed, parse, resolved
from tori.sources.markup import plain_title

STANDARD_LIBRARY = "stdlib"
DEMONSTRATION = tuple(
    """aiohttp anyio attr attrs bm25s click cloudpickle cryptography filelock fsspec grpc huggingface_hub jsonschema
    markdown_it msgspec multidict numpy opencensus packaging platformdirs prometheus_client psutil pydantic pydantic_core
    pydantic_settings pygments ray referencing requests rich safetensors scipy smart_open tokenizers tqdm typer typing_extensions
    urllib3 virtualenv wordllama yaml yarl""".split()
)
"""What TORI itself stands on, so it is on every machine where TORI is installed: with the standard library, the corpus
of the demonstration (about 20,000 documented objects)."""
SKIPPED_MODULES = frozenset(
    ["conftest", "extern", "externals", "idlelib", "idle_test", "lib2to3", "setup", "test", "tests", "third_party"]
    + ["thirdparty", "thirdparty_files", "turtledemo", "vendor", "vendored", "_vendor", "_vendored", "__pycache__"]
)
"""Tests, copies of other people's packages, and applications inside the standard library."""
MOST_LINKS = 64
_TEXT_LIMIT = LARGEST_TEXT_BYTES // 4
_DOTTED = re.compile(r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|(?<=:mod:`)[\w.]+")
_GENERATED = ("_pb2", "_pb2_grpc")


@dataclass(frozen=True)
class Package:
    """A top-level module or package on disk; ``label`` names its distribution and version."""

    name: str
    path: Path
    label: str

    def modules(self) -> list[tuple[str, Path]]:
        """Return (dotted name, file) of every module worth reading, private ones too, sorted by name."""
        if self.path.is_file():
            return [(self.name, self.path)]
        found = []
        for file in self.path.rglob("*.py"):
            parts = list(file.relative_to(self.path).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            is_ours = not any(p in SKIPPED_MODULES or p.startswith("test_") or not p.isidentifier() for p in parts)
            if is_ours and not file.stem.endswith(_GENERATED) and "__main__" not in parts:
                found.append((".".join([self.name, *parts]), file))
        return sorted(found)


def is_public(module: str) -> bool:
    """Return whether no part of a dotted name is private."""
    return not any(part.startswith("_") for part in module.split("."))


def standard_library() -> list[Package]:
    """Return the public top-level modules of the running interpreter's standard library, sorted by name."""
    root = Path(sysconfig.get_path("stdlib"))
    label = f"python:{STANDARD_LIBRARY} {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    names = sorted(n for n in sys.stdlib_module_names if not n.startswith("_") and n not in SKIPPED_MODULES)
    return [p for p in (_on_disk(name, [root], label) for name in names) if p]


def demonstration() -> list[Package]:
    """Return the standard library and those of ``DEMONSTRATION`` that are installed here."""
    return standard_library() + [p for p in installed_packages() if p.name in DEMONSTRATION]


def installed_packages(names: Sequence[str] | None = None) -> list[Package]:
    """Return installed top-level packages by import name, sorted: those of ``names``, or all.

    Raises BadInput when a name is not installed here as Python source.
    """
    roots = list(dict.fromkeys(Path(sysconfig.get_path(key)) for key in ("purelib", "platlib")))
    distributions = _distributions()
    wanted = (
        sorted(n for n in distributions if is_public(n) and n.isidentifier()) if names is None else sorted(set(names))
    )
    found = []
    for name in wanted:
        if not name.isidentifier():
            raise BadInput(
                f"{name!r} is no import name.", remedy="Give names as import takes them: python:numpy,scipy."
            )
        owner = sorted(distributions.get(name, [name]))[0]
        package = _on_disk(name, roots, _label(owner))
        if package:
            found.append(package)
        elif names is not None:
            remedy = f"Install it, or name {STANDARD_LIBRARY} or a package that is here."
            raise BadInput(f"no Python source of {name!r} is installed for this interpreter.", remedy=remedy)
    return found


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Return {import name: distributions}; reading every RECORD takes a second, and they do not change under a process."""
    from importlib import metadata

    return metadata.packages_distributions()


def _label(distribution: str) -> str:
    from importlib import metadata

    try:
        return f"python:{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return f"python:{distribution}"


def _on_disk(name: str, roots: Sequence[Path], label: str) -> Package | None:
    for root in roots:
        folder, file = root / name, root / f"{name}.py"
        if (folder / "__init__.py").is_file():
            return Package(name, folder, label)
        if file.is_file():
            return Package(name, file, label)
    return None


class PythonDocumentation(Source):
    """The documented public modules of ``packages``, package by package, each in the order of module names.

    ``limit`` bounds the documented objects taken from one package: whole modules, the shallow ones first.
    """

    unit = "modules"

    def __init__(self, packages: Sequence[Package], *, name: str = "python:", limit: int | None = None) -> None:
        super().__init__(name)
        self.packages = list(packages)
        self.limit = limit
        self._modules: list[list[tuple[str, Path]]] | None = None

    def total(self) -> int | None:
        return sum(map(len, self._listed()))

    def _listed(self) -> list[list[tuple[str, Path]]]:
        if self._modules is None:
            self._modules = [package.modules() for package in self.packages]
        return self._modules

    def documents(self) -> Iterator[Document | Refusal]:
        self.position = 0
        listed = self._listed()
        known = {name for modules in listed for name, _ in modules if is_public(name)}
        for package, modules in zip(self.packages, listed, strict=True):
            parsed: dict[str, Parsed] = {}
            for name, file in modules:
                self.position += 1
                outcome = _parsed(name, file)
                if isinstance(outcome, Refusal):
                    yield outcome
                else:
                    parsed[name] = outcome
            yield from self._of_package(package, parsed, known)

    def _of_package(self, package: Package, parsed: dict[str, Parsed], known: set[str]) -> Iterator[Document | Refusal]:
        entries = _offered(parsed)
        chosen = set(entries)
        if self.limit is not None:
            chosen, left = set(), self.limit
            for name in sorted(entries, key=lambda n: (n.count("."), n)):
                if len(entries[name]) <= left:
                    chosen.add(name)
                    left -= len(entries[name])
        for name in sorted(chosen):
            if entries[name] or parsed[name].text:
                yield _document(package, name, parsed[name], entries[name], known)


def _parsed(name: str, file: Path) -> Parsed | Refusal:
    try:
        if file.stat().st_size > LARGEST_TEXT_BYTES:
            return Refusal(str(file), "the module's source is larger than 8 MiB.", "It is left out.")
        return parse(file.read_bytes(), name, is_package=file.stem == "__init__")
    except OSError as error:
        return Refusal(str(file), f"cannot be read: {error.strerror}.", "Allow reading it.")
    except (SyntaxError, ValueError, RecursionError) as error:
        return Refusal(
            str(file), f"not Python of this version: {error}.", "It is left out.", getattr(error, "lineno", None)
        )


def _offered(parsed: dict[str, Parsed]) -> dict[str, list[Entry]]:
    """Return the entries each public module offers; an object of a private module goes to the first that offers it."""
    offered: dict[str, list[Entry]] = {}
    taken: set[int] = set()
    for module in sorted((m for m in parsed if is_public(m)), key=lambda m: (m.count("."), m)):
        own = parsed[module]
        entries = [e for name, group in own.objects.items() if own.is_public(name) for e in group]
        for origin, name, here in own.taken:
            if is_public(origin) or origin not in parsed:
                continue
            names = _public_names(parsed, origin) if name == "*" else [(name, here)]
            for there, shown in names:
                group = resolved(parsed, origin, there)
                if group and own.is_public(shown) and id(group) not in taken:
                    taken.add(id(group))
                    entries += group
        offered[module] = entries
    return offered


def _public_names(parsed: dict[str, Parsed], origin: str) -> list[tuple[str, str]]:
    module = parsed[origin]
    names = sorted(module.exports) if module.exports is not None else [n for n in module.objects if module.is_public(n)]
    return [(name, name) for name in names]


def _document(package: Package, name: str, parsed: Parsed, entries: Sequence[Entry], known: set[str]) -> Document:
    parts = [parsed.text] if parsed.text else []
    length = len(parsed.text)
    sections = [Section(0, length, name)] if parsed.text else []
    for entry in entries:
        start = length + 2 if parts else 0
        part = f"{name}.{entry.path}{entry.call}\n{entry.text}"
        if start + len(part) > _TEXT_LIMIT:
            break
        parts.append(part)
        length = start + len(part)
        sections.append(Section(start, length, f"{name}.{entry.path}"))
    text = "\n\n".join(parts)
    first = _first_line(parsed.text)
    return Document(
        id=name,
        title=f"{name}: {first}" if first and first != name else name,
        text=text,
        source=package.label,
        thread=package.name,
        links=_links(name, parsed, text, known),
        sections=tuple(sections),
    )


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.split("\n") if line.strip(' \t=-~*#"')), "")
    return plain_title(line).rstrip(".")


def _links(name: str, parsed: Parsed, text: str, known: set[str]) -> tuple[str, ...]:
    """Return the known modules that a module imports, then those its text names, longest name first known; sorted."""
    mentioned = set()
    for dotted in sorted(set(_DOTTED.findall(text))):
        while dotted and dotted not in known:
            dotted = dotted.rpartition(".")[0]
        if dotted:
            mentioned.add(dotted)
    imported = sorted((parsed.imported & known) - {name})
    return tuple(sorted([*imported, *sorted(mentioned - {name, *imported})][:MOST_LINKS]))
