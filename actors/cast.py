"""Which actor plays which module, under which name."""

from __future__ import annotations

from actors.module import ModuleActor
from actors.names import RELAY
from actors.relay import NodeRelayActor, RelayActor
from tori.modules.registry import CLIENTS

SUCCESSOR = "~"
"""Stands between the name of a module's actor and the incarnation, after a reload."""

__all__ = ["CLIENTS", "SUCCESSOR", "actor_class", "actor_name", "is_relay", "successor_name"]


def is_relay(name: str) -> bool:
    """Say whether a name in the lifecycle is the relay of a node other than the head's, and no module."""
    return name.startswith(f"{RELAY}@")


def actor_class(module: str) -> type[ModuleActor] | type[NodeRelayActor]:
    """Return the plain class around a module: the clients' journal is the head relay's, every other has the plain shell."""
    if is_relay(module):
        return NodeRelayActor
    return RelayActor if module == CLIENTS else ModuleActor


def successor_name(module: str, incarnation: int) -> str:
    """Return the name of an actor that came by a reload: the plain one is still taken when it is made."""
    return f"{actor_name(module)}{SUCCESSOR}{incarnation}"


def actor_name(module: str) -> str:
    """Return the name under which the actor of a module is found."""
    return RELAY if module == CLIENTS else module
