"""The modules by name, and the order in which they start, settle and stop."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from tori.errors import BadInput
from tori.modules.base import Module
from tori.modules.cascade import followed
from tori.modules.settings import module_settings

PATHS = {
    "clients": "tori.modules.clients:Clients",
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

_PRODUCERS = ("clients", *START_ORDER)
FOLLOWS = {name: followed(name, _PRODUCERS) for name in PATHS} | {"orchestrator": _PRODUCERS}
"""Which journals each module follows: those that the rules of the cascade name. The orchestrator, who keeps the record, follows all."""


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
