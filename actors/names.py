"""Names under which the actors are found."""

from __future__ import annotations

import os
from pathlib import Path

from tori.errors import Unavailable

NAMESPACE = "tori"
ORCHESTRATOR = "orchestrator"
RELAY = "relay"
"""The relay of the node where documents come in; those of other nodes are ``relay@NODE``."""
_HOME = "TORI_HOME"


def relay_name(node: str) -> str:
    """Return the name of the relay of a node other than the head, which is the name of its actor too."""
    return f"{RELAY}@{node}"


def node_home() -> Path:
    """Return the home of the node this process runs on, as its raylet was told; raises Unavailable when it was told none."""
    if not os.environ.get(_HOME):
        raise Unavailable(
            f"this node has no {_HOME} in its raylet's environment.", remedy="Start it with tori up or deploy/ray."
        )
    return Path(os.environ[_HOME])
