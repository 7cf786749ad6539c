"""The lane of every type: its priority, fixed by what it is about.

Domain types are normal, so overtaking can never show an effect before its cause; critical and high are for system, resource
and recovery types, low and background for metrics and reports.
"""

from __future__ import annotations

from tori.events import mind, system

CRITICAL, HIGH, NORMAL, LOW, BACKGROUND = range(5)

_LANES: dict[type, int] = {
    system.SystemShutdown: CRITICAL,
    system.StateCorrupted: CRITICAL,
    system.RecoveryFailed: CRITICAL,
    system.SystemStarted: HIGH,
    system.ModuleStateChanged: HIGH,
    system.ModuleInitialized: HIGH,
    system.ModuleShutdown: HIGH,
    system.ResourceThresholdExceeded: HIGH,
    system.ResourceRecovered: HIGH,
    system.MemoryPressure: HIGH,
    system.CPUPressure: HIGH,
    system.ErrorOccurred: HIGH,
    system.RecoveryAttempted: HIGH,
    system.RecoverySucceeded: HIGH,
    system.StateRecovered: HIGH,
    system.DeliveryDeadLettered: HIGH,
    system.SubscriptionLagged: HIGH,
    system.HotReloadTriggered: HIGH,
    system.HotReloadCompleted: HIGH,
    system.HotReloadFailed: HIGH,
    mind.IngestProgressed: LOW,
    system.PerformanceAlert: LOW,
    system.FuzzTestStarted: LOW,
    system.FuzzTestCompleted: LOW,
    system.ChaosInjected: LOW,
    system.ClientMessage: LOW,
    system.MetricsCollected: BACKGROUND,
    system.BenchmarkCompleted: BACKGROUND,
    system.CoverageUpdated: BACKGROUND,
}


def lane_of(payload_type: type) -> int:
    """Return the lane of a payload class."""
    return _LANES.get(payload_type, NORMAL)
