"""What is checked: a module class by import path, its state, and a sample of the events it takes."""

from __future__ import annotations

import re
from importlib import import_module

import msgspec

from tori.errors import BadInput
from tori.events.envelope import Event
from tori.modules.base import Module

PREFIX = "tori.modules."
EVENTS_MAXIMUM = 5_000
"""Events of one target's sample."""
TARGETS_MAXIMUM = 16
"""Targets of one run."""

_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_allowed: set[str] = set()


class FuzzTarget(msgspec.Struct, array_like=True, frozen=True):
    """One module to check."""

    name: str
    path: str
    """Import path of its class, ``tori.modules.alien:Alien``."""
    snapshot: bytes
    """Its live state; empty = a module that has seen nothing."""
    events: tuple[Event, ...] = ()
    """Input events, causes before effects; events it may want to read (documents) belong here too."""


class Plan(msgspec.Struct, array_like=True, frozen=True):
    """The input of one run."""

    seed: int
    targets: tuple[FuzzTarget, ...]


def allow(path: str) -> None:
    """Let this process check a user's own module; call it in every process that runs checks.

    ``path`` is exact, ``package.module:Class``. Nothing outside ``tori.modules.`` is ever imported without this.
    """
    _well_formed(path)
    _allowed.add(path)


def resolve(path: str) -> type[Module]:
    """Return the class at ``path``; raises BadInput when it is not allowed, not there, or no Module."""
    _well_formed(path)
    if not path.startswith(PREFIX) and path not in _allowed:
        raise BadInput(
            f"{path} may not be imported for a check.",
            remedy=f"Allowed: {PREFIX}* and what allow() named.",
            field="path",
        )
    package, _, attribute = path.partition(":")
    try:
        found = getattr(import_module(package), attribute, None)
    except ImportError as error:
        raise BadInput(f"{path} cannot be imported: {error}.", field="path") from error
    if not (isinstance(found, type) and issubclass(found, Module)):
        raise BadInput(f"{path} is not a Module.", remedy="Name a class as package.module:Class.", field="path")
    return found


def _well_formed(path: str) -> None:
    if not _PATH.fullmatch(path):
        raise BadInput(f"{path!r} is not an import path.", remedy="Write package.module:Class.", field="path")
