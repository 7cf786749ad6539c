"""Which actor plays which module, under which name."""

from __future__ import annotations

from actors.module import ModuleActor
from actors.names import RELAY
from actors.relay import RelayActor

CLIENTS = "clients"


def actor_class(module: str) -> type[ModuleActor]:
    """Return the plain class around a module: the clients' journal is the relay's, every other has the plain shell."""
    return RelayActor if module == CLIENTS else ModuleActor


def actor_name(module: str) -> str:
    """Return the name under which the actor of a module is found."""
    return RELAY if module == CLIENTS else module
