"""Who may import whom, read from the syntax trees: nothing is imported, so no import can hide."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.source import ROOT, imports, is_inside, module_name, place, python_files

MODULES = ("reader", "hierarchy", "braid", "wormhole", "alien", "scars", "fuzzing")


def offences(importer: str, forbidden: tuple[str, ...], allowed_in: tuple[str, ...] = ()) -> list[str]:
    """Return where files of the package ``importer`` import one of ``forbidden`` outside the packages ``allowed_in``."""
    return [
        f"{place(path, line)} imports {name}"
        for path in python_files(*importer.split(".")[:1])
        if is_inside(module_name(path), importer)
        and not any(is_inside(module_name(path), package) for package in allowed_in)
        for name, line in imports(path)
        if any(is_inside(name, package) for package in forbidden)
    ]


@pytest.mark.parametrize("forbidden", ["ray", "cloudpickle", "uvicorn", "grafana_api", "actors"])
def test_the_core_stands_alone(forbidden: str) -> None:
    assert offences("tori", (forbidden,)) == []


def test_psutil_only_in_resources() -> None:
    assert offences("tori", ("psutil",), allowed_in=("tori.resources",)) == []


@pytest.mark.parametrize("module", MODULES)
def test_modules_meet_through_events_only(module: str) -> None:
    siblings = tuple(f"tori.modules.{other}" for other in MODULES if other != module)
    assert offences(f"tori.modules.{module}", siblings) == []


@pytest.mark.parametrize("importer", ["tori.journal", "tori.bus", "tori.events", "tori.retrieval"])
def test_the_lower_layers_know_no_module(importer: str) -> None:
    assert offences(importer, ("tori.modules",)) == []


@pytest.mark.parametrize("folder", ["unit", "properties", "architecture", "sim", "support"])
def test_pure_tests_do_not_import_ray(folder: str) -> None:
    files = python_files(f"tests/{folder}")
    assert [place(p, line) for p in files for name, line in imports(p) if is_inside(name, "ray")] == []


def test_scripts_are_never_imported() -> None:
    assert offences("tori", ("scripts", "tests")) == []
    assert offences("actors", ("scripts", "tests")) == []


def test_an_import_inside_a_function_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tori" / "modules" / "alien").mkdir(parents=True)
    (tmp_path / "tori" / "modules" / "alien" / "law.py").write_text(
        "def f():\n    from ..scars import gap\n    import ray.util\n", encoding="utf-8"
    )
    monkeypatch.setattr("tests.architecture.source.ROOT", tmp_path)
    assert offences("tori", ("ray",)) == ["tori/modules/alien/law.py:3 imports ray.util"]
    assert offences("tori.modules.alien", ("tori.modules.scars",)) == [
        "tori/modules/alien/law.py:2 imports tori.modules.scars.gap"
    ]


def test_both_packages_are_regular() -> None:
    missing = [
        place(folder)
        for package in ("tori", "actors")
        for folder in sorted({path.parent for path in python_files(package)})
        if not (folder / "__init__.py").exists()
    ]
    assert missing == [], "a folder without __init__.py is a namespace package"
    assert (ROOT / "tori" / "py.typed").exists()
