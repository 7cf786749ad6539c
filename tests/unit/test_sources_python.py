"""Python documentation without importing anything: what a module offers, where, and under which name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tori.errors import BadInput
from tori.events.document import Document
from tori.sources import PythonDocumentation, Refusal, installed_packages, open_source, standard_library
from tori.sources import python as module
from tori.sources.docstring import parse, resolved
from tori.sources.python import Package, demonstration

FILES = {
    "__init__.py": '"""A package of shapes.\n\nSee shapes.round and shapes.nowhere."""\n'
    "from ._area import area, _hidden\nfrom .round import *\n",
    "_area.py": '__all__ = ["area"]\nfrom ._deep import helper\n'
    'def area(shape, /, unit="m2", *, exact=True, **more):\n    "The area of a shape."\n'
    'def _hidden(): "hidden"\n',
    "_deep.py": 'def helper(): "Helps."\n',
    "round.py": '"""Round things."""\nimport math\nfrom . import _deep\nfrom ._deep import *\n'
    "try:\n    import fast\nexcept ImportError:\n    pass\n"
    'if True:\n    class Circle:\n        """A round shape."""\n        def grow(self, by: int = 1, *others):\n            """Grow it."""\n'
    '        def _secret(self): "no"\n        @property\n        def radius(self):\n            """Its radius."""\n'
    "        async def undocumented(self): pass\n",
    "broken.py": "def (:\n",
    "nul.py": "x = 1\0",
    "plain.py": "x = 1\n",
    "tests/__init__.py": '"""Tests of shapes."""\n',
    "_private/public.py": '"""Inside a private folder."""\n',
    "data_pb2.py": '"""Generated."""\n',
}


@pytest.fixture
def package(tmp_path: Path) -> Package:
    for name, text in FILES.items():
        path = tmp_path / "shapes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Package("shapes", tmp_path / "shapes", "python:shapes 1.0")


def harvest(package: Package, limit: int | None = None) -> tuple[dict[str, Document], list[Refusal]]:
    found = list(PythonDocumentation([package], limit=limit).documents())
    return {f.id: f for f in found if isinstance(f, Document)}, [f for f in found if isinstance(f, Refusal)]


def test_a_document_is_a_public_module(package: Package) -> None:
    documents, refusals = harvest(package)
    assert list(documents) == ["shapes", "shapes.round"]
    assert {Path(r.path).name for r in refusals} == {"broken.py", "nul.py"}
    top = documents["shapes"]
    assert top.title == "shapes: A package of shapes"
    assert (top.source, top.thread, top.time_ns) == ("python:shapes 1.0", "shapes", None)
    assert top.links == ("shapes.round",)
    assert "fast" not in sys.modules


def test_a_title_is_the_name_and_the_first_words_if_they_say_more(tmp_path: Path) -> None:
    titles = {}
    for number, text in enumerate(("=====\n``m0``\n=====\nThe words.", "The *m1* thing.\n", "")):
        path = tmp_path / f"m{number}.py"
        path.write_text(f'"""{text}"""\ndef f(): \'f\'\n')
        titles.update({d: x.title for d, x in harvest(Package(f"m{number}", path, "x"))[0].items()})
    assert titles == {"m0": "m0", "m1": "m1: The m1 thing", "m2": "m2"}


def test_what_a_private_module_gives_is_documented_where_it_is_offered(package: Package) -> None:
    documents, _ = harvest(package)
    assert "shapes.area(shape, /, unit='m2', *, exact=True, **more)\nThe area of a shape." in documents["shapes"].text
    assert "hidden" not in documents["shapes"].text
    assert "shapes.round.helper()\nHelps." in documents["shapes.round"].text


def test_sections_are_the_objects_with_exact_spans(package: Package) -> None:
    documents, _ = harvest(package)
    document = documents["shapes.round"]
    titles = [s.title for s in document.sections]
    names = ["", ".Circle", ".Circle.grow", ".Circle.radius", ".helper"]
    assert titles == [f"shapes.round{name}" for name in names]
    for section in document.sections[1:]:
        assert document.text[section.start : section.end].startswith(section.title)
    assert "shapes.round.Circle.grow(self, by=1, *others)\nGrow it." in document.text
    assert "shapes.round.Circle.radius\nIts radius." in document.text


def test_a_limit_takes_whole_modules_shallow_ones_first(package: Package) -> None:
    documents, _ = harvest(package, limit=2)
    assert list(documents) == ["shapes"]


def test_long_signatures_and_odd_defaults_are_shortened() -> None:
    many = ", ".join(f"parameter_{n}" for n in range(60))
    source = f'def f({many}): "x"\ndef g(a=[1], b=None, c="{"y" * 40}", d=-1, *, e=b): "y"\n'.encode()
    parsed = parse(source, "m", is_package=False)
    assert parsed.objects["f"][0].call.endswith("…)")
    assert parsed.objects["g"][0].call == "(a=..., b=None, c=..., d=..., *, e=b)"


def test_relative_imports_and_written_exports() -> None:
    source = b"from .. import a\nfrom ..b import c as d\nfrom ....too import far\n"
    source += b"__all__ = ['x']\n__all__ += ['y', 'z']\n__all__: list = ['w']"
    parsed = parse(source, "p.q.r", is_package=False)
    assert parsed.taken == [("p", "a", "a"), ("p.b", "c", "d")]
    assert parsed.imported == {"p", "p.a", "p.b", "p.b.c"}
    assert parsed.exports == frozenset("wxyz")
    assert not parsed.is_public("a")


def test_names_are_followed_through_modules_and_round_in_circles() -> None:
    sources = {
        "p": b"from p._a import f as g, lost\nfrom p._b import *",
        "p._a": b"from p._b import f\nfrom p import lost",
        "p._b": b"def f(): 'Deep.'",
    }
    modules = {name: parse(source, name, is_package=name == "p") for name, source in sources.items()}
    assert [e.text for e in resolved(modules, "p", "g")] == ["Deep."]
    assert [e.text for e in resolved(modules, "p", "f")] == ["Deep."]
    assert resolved(modules, "p", "lost") == []
    assert resolved(modules, "q", "f") == []


def test_the_standard_library_is_here() -> None:
    packages = {p.name: p for p in standard_library()}
    assert {"asyncio", "json", "bisect"} <= packages.keys()
    assert "test" not in packages
    documents, refusals = harvest(packages["bisect"])
    assert not refusals
    assert documents["bisect"].source.startswith("python:stdlib 3.")
    assert [s.title for s in documents["bisect"].sections][:2] == ["bisect", "bisect.insort_right"]


def test_an_installed_package_by_name_and_the_whole_set() -> None:
    (found,) = installed_packages(["msgspec"])
    assert found.label.startswith("python:msgspec 0.")
    source = open_source("python:msgspec,stdlib", limit=5)
    assert isinstance(source, PythonDocumentation)
    names = [p.name for p in source.packages]
    assert names[-1] == "msgspec"
    assert "json" in names
    everything = {p.name for p in installed_packages()}
    assert {"msgspec", "numpy"} <= everything
    assert {p.name for p in demonstration()} <= everything | {p.name for p in standard_library()}
    assert isinstance(open_source("python:installed"), PythonDocumentation)
    assert isinstance(open_source("python:"), PythonDocumentation)
    with pytest.raises(BadInput, match="no_such"):
        installed_packages(["no_such"])


def test_a_harvest_is_the_same_twice_and_counts_its_modules(package: Package) -> None:
    source = PythonDocumentation([package])
    first = list(source.documents())
    assert source.position == source.total() == 8
    assert list(source.documents()) == first


def test_texts_and_sources_beyond_the_limits_are_cut_or_refused(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TEXT_LIMIT", 60)
    documents, _ = harvest(package)
    assert [s.title for s in documents["shapes.round"].sections] == ["shapes.round", "shapes.round.Circle"]
    monkeypatch.setattr(module, "LARGEST_TEXT_BYTES", 10)
    documents, refusals = harvest(package)
    assert list(documents) == []
    assert len(refusals) > 3
