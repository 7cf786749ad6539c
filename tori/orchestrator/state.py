"""States of the system and of a module, and every legal edge between them."""

from __future__ import annotations

from enum import StrEnum

from tori.machine import Edge, TransitionTable


class State(StrEnum):
    """The states; for a module, ``degraded`` means given up, ``offline`` that its node is gone with its journal; the others go on."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    PAUSED = "paused"
    DEGRADED = "degraded"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"
    OFFLINE = "offline"


_S = State

MODULE_TABLE = TransitionTable(
    "module",
    (
        Edge(_S.STOPPED, _S.INITIALIZING, "its turn in the start order has come"),
        Edge(_S.STOPPED, _S.RUNNING, "an orchestrator that restarted found it alive"),
        Edge(_S.STOPPED, _S.PAUSED, "an orchestrator that restarted found it alive and paused"),
        Edge(_S.STOPPED, _S.DEGRADED, "an orchestrator that restarted remembers that it was given up"),
        Edge(_S.INITIALIZING, _S.RUNNING, "it restored its state and follows its inputs"),
        Edge(_S.INITIALIZING, _S.PAUSED, "it is ready while it, or the whole system, is paused"),
        Edge(_S.INITIALIZING, _S.FAILED, "it died or ran out of time before it was ready"),
        Edge(_S.INITIALIZING, _S.DRAINING, "the system stops before it was ready"),
        Edge(_S.RUNNING, _S.PAUSED, "a pause was asked for"),
        Edge(_S.PAUSED, _S.RUNNING, "the pause is over"),
        Edge(_S.RUNNING, _S.RUNNING, "new code of it took over"),
        Edge(
            _S.PAUSED,
            _S.PAUSED,
            "new code of it took over while it was paused, a person pauses, or resumes, what a check has paused, or the check ends while "
            "the system is paused",
        ),
        Edge(_S.RUNNING, _S.FAILED, "it died"),
        Edge(_S.PAUSED, _S.FAILED, "it died while paused"),
        Edge(_S.RUNNING, _S.DRAINING, "the system stops and its turn in the stop order has come"),
        Edge(_S.PAUSED, _S.DRAINING, "the system stops and its turn in the stop order has come"),
        Edge(_S.FAILED, _S.INITIALIZING, "supervision, or a person, starts it again"),
        Edge(
            _S.FAILED,
            _S.DEGRADED,
            "supervision gives it up: too many restarts in the window, or a failure that no restart ends",
        ),
        Edge(_S.DEGRADED, _S.INITIALIZING, "a person asked for its recovery"),
        Edge(_S.FAILED, _S.STOPPED, "the system stops; nothing of it is left to drain"),
        Edge(_S.DEGRADED, _S.STOPPED, "the system stops; nothing of it is left to drain"),
        Edge(_S.DRAINING, _S.STOPPED, "it ended: asked to, by itself, or killed when its time to drain was over"),
        Edge(_S.STOPPED, _S.OFFLINE, "its node, which has its journal, is not there when the system starts"),
        Edge(_S.INITIALIZING, _S.OFFLINE, "its node left the cluster while it started"),
        Edge(_S.RUNNING, _S.OFFLINE, "its node left the cluster"),
        Edge(_S.PAUSED, _S.OFFLINE, "its node left the cluster while it was paused"),
        Edge(_S.FAILED, _S.OFFLINE, "its node left the cluster, which is why it died"),
        Edge(_S.DEGRADED, _S.OFFLINE, "its node left the cluster after it was given up"),
        Edge(_S.OFFLINE, _S.INITIALIZING, "its node is back"),
        Edge(_S.OFFLINE, _S.STOPPED, "the system stops; nothing of it is left to drain"),
    ),
)

SYSTEM_TABLE = TransitionTable(
    "system",
    (
        Edge(_S.STOPPED, _S.INITIALIZING, "a start was asked for"),
        Edge(_S.INITIALIZING, _S.RUNNING, "every module runs"),
        Edge(_S.INITIALIZING, _S.PAUSED, "every module was started, into a pause"),
        Edge(_S.INITIALIZING, _S.DEGRADED, "every module was started and at least one does not run"),
        Edge(_S.INITIALIZING, _S.FAILED, "every module was started and given up"),
        Edge(_S.INITIALIZING, _S.DRAINING, "a stop was asked for during the start"),
        Edge(_S.RUNNING, _S.PAUSED, "a pause was asked for"),
        Edge(_S.DEGRADED, _S.PAUSED, "a pause was asked for"),
        Edge(_S.PAUSED, _S.RUNNING, "the pause is over and every module runs"),
        Edge(_S.PAUSED, _S.DEGRADED, "the pause is over and at least one module does not run"),
        Edge(_S.PAUSED, _S.FAILED, "the pause is over and every module was given up"),
        Edge(_S.RUNNING, _S.DEGRADED, "a module failed"),
        Edge(_S.RUNNING, _S.FAILED, "the only module was given up at once"),
        Edge(_S.DEGRADED, _S.RUNNING, "every module runs again"),
        Edge(_S.DEGRADED, _S.FAILED, "the last module was given up"),
        Edge(_S.FAILED, _S.DEGRADED, "a person asked for the recovery of a module"),
        Edge(_S.RUNNING, _S.DRAINING, "a stop was asked for"),
        Edge(_S.PAUSED, _S.DRAINING, "a stop was asked for"),
        Edge(_S.DEGRADED, _S.DRAINING, "a stop was asked for"),
        Edge(_S.FAILED, _S.DRAINING, "a stop was asked for"),
        Edge(_S.DRAINING, _S.STOPPED, "every module has stopped"),
    ),
)
