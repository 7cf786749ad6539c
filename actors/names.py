"""Names under which the actors are found."""

from __future__ import annotations

NAMESPACE = "tori"
ORCHESTRATOR = "orchestrator"
RELAY = "relay"
