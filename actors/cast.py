"""Which actor plays which module, under which name."""

from __future__ import annotations

from actors.module import ModuleActor
from actors.names import RELAY
from actors.relay import NodeRelayActor, RelayActor
from tori.orchestrator.placement import CLIENTS

__all__ = ["CLIENTS", "actor_class", "actor_name", "is_relay"]


def is_relay(name: str) -> bool:
    """Say whether a name in the lifecycle is the relay of a node other than the head's, and no module."""
    return name.startswith(f"{RELAY}@")


def actor_class(module: str) -> type[ModuleActor] | type[NodeRelayActor]:
    """Return the plain class around a module: the clients' journal is the head relay's, every other has the plain shell."""
    if is_relay(module):
        return NodeRelayActor
    return RelayActor if module == CLIENTS else ModuleActor


def actor_name(module: str) -> str:
    """Return the name under which the actor of a module is found."""
    return RELAY if module == CLIENTS else module
