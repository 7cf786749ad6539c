"""The modules by name, and the order in which they start, settle and stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from tori.errors import BadInput
from tori.modules.base import Module
from tori.modules.cascade import followed
from tori.modules.settings import module_settings

CLIENTS = "clients"
"""Takes documents in: its journal is where every story begins, and its actor is the relay of the head."""
PATHS = {
    CLIENTS: "tori.modules.clients:Clients",
    "orchestrator": "tori.orchestrator.ledger:Ledger",
    "reader": "tori.modules.reader:Reader",
    "hierarchy": "tori.modules.hierarchy:Hierarchy",
    "braid": "tori.modules.braid:Braid",
    "wormhole": "tori.modules.wormhole:Wormhole",
    "alien": "tori.modules.alien:Alien",
    "scars": "tori.modules.scars:Scars",
    "fuzzing": "tori.modules.fuzzing:Fuzzing",
}
START_ORDER = ("reader", "hierarchy", "braid", "wormhole", "alien", "scars", "fuzzing")
"""Modules of the mind, in order of start; they stop in reverse."""

FULL_PASS = (
    ("reader", "concept_selection"),
    ("hierarchy", "hierarchy_optimization"),
    ("braid", "memory_cleanup"),
    ("wormhole", "wormhole_scan"),
    ("alien", "alien_audit"),
    ("scars", "scar_scan"),
)
"""One pass of every scan, each after what it reads has settled: what quiesce runs."""

_PRODUCERS = (CLIENTS, *START_ORDER)
FOLLOWS = {name: followed(name, _PRODUCERS) for name in PATHS} | {"orchestrator": _PRODUCERS}
"""Which journals each module follows: those that the rules of the cascade name. The orchestrator, who keeps the record, follows all."""


_built_in = frozenset(PATHS)


def user_modules() -> tuple[str, ...]:
    """Return the modules that users brought, in the order in which they were registered; they start after the mind's."""
    return tuple(name for name in PATHS if name not in _built_in)


def register_module(name: str, path: str, follows: Sequence[str]) -> None:
    """Add a user's module, ``package:Class``; the same again does nothing. The orchestrator keeps record of it as of every other.

    Raises BadInput for a name that is taken, and for a journal that nobody writes.
    """
    unknown = [journal for journal in follows if journal not in PATHS or journal in ("orchestrator", name)]
    if unknown:
        raise BadInput(
            f"module {name} follows {unknown[0]!r}, which is no journal that it can follow.",
            remedy=f"Journals: {', '.join((*_PRODUCERS, *user_modules()))}.",
        )
    if PATHS.get(name, path) != path:
        raise BadInput(f"module {name} is {PATHS[name]} already.", remedy=f"Give {path} another name.")
    PATHS[name], FOLLOWS[name] = path, tuple(dict.fromkeys(follows))
    remember_journal(name)


def forget_modules(package: str) -> tuple[str, ...]:
    """Take the modules of a package out again, which was read and is not to run here; return their names."""
    found = tuple(name for name in user_modules() if PATHS[name].partition(":")[0] == package)
    for name in found:
        del PATHS[name], FOLLOWS[name]
        FOLLOWS["orchestrator"] = tuple(journal for journal in FOLLOWS["orchestrator"] if journal != name)
    return found


def remember_journal(name: str) -> None:
    """Have the orchestrator follow a journal; also that of a module which is gone, for its record speaks of it."""
    FOLLOWS["orchestrator"] = tuple(dict.fromkeys((*FOLLOWS["orchestrator"], name)))


def module_class(name: str) -> type[Module]:
    """Return the class of a module, imported now; raises BadInput for an unknown name."""
    path = PATHS.get(name)
    if path is None:
        raise BadInput(f"there is no module {name!r}.", remedy=f"Modules: {', '.join(PATHS)}.")
    package, _, attribute = path.partition(":")
    found = getattr(import_module(package), attribute)
    if not (isinstance(found, type) and issubclass(found, Module)):
        raise BadInput(f"{path} is not a Module.")
    return found


def create_module(name: str, settings: Mapping[str, Any] | None = None) -> Module:
    """Return a new, empty module; ``settings`` is what ``Settings.plain()`` returned, None = the defaults."""
    own = module_settings(name, settings) if settings is not None else None
    make: Any = module_class(name)
    module: Module = make() if own is None else make(own)
    return module
