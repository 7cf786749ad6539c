"""The union of every payload: what the codec accepts, and nothing else."""

from __future__ import annotations

from tori.events import mind, system

Payload = (
    mind.DocumentIngested
    | mind.DocumentEmbedded
    | mind.IngestProgressed
    | mind.ConceptAdded
    | mind.ConceptModified
    | mind.ConceptRemoved
    | mind.ConceptLinked
    | mind.ThreadCreated
    | mind.ThreadAppended
    | mind.ThreadClosed
    | mind.BraidFormed
    | mind.BraidDissolved
    | mind.WormholeSuggested
    | mind.WormholeCreated
    | mind.WormholeRemoved
    | mind.SuggestionAccepted
    | mind.SuggestionRejected
    | mind.AlienDetected
    | mind.AlienResolved
    | mind.ScarDetected
    | mind.ScarHealed
    | system.SystemStarted
    | system.SystemShutdown
    | system.ModuleInitialized
    | system.ModuleShutdown
    | system.ModuleStateChanged
    | system.ResourceThresholdExceeded
    | system.ResourceRecovered
    | system.MemoryPressure
    | system.CPUPressure
    | system.TaskStarted
    | system.TaskCompleted
    | system.TaskFailed
    | system.TaskCancelled
    | system.FuzzTestStarted
    | system.FuzzTestCompleted
    | system.ChaosInjected
    | system.CoverageUpdated
    | system.PerformanceAlert
    | system.MetricsCollected
    | system.BenchmarkCompleted
    | system.HotReloadTriggered
    | system.HotReloadCompleted
    | system.HotReloadFailed
    | system.ClientConnected
    | system.ClientDisconnected
    | system.ClientMessage
    | system.ErrorOccurred
    | system.RecoveryAttempted
    | system.RecoverySucceeded
    | system.RecoveryFailed
    | system.CheckpointCreated
    | system.CheckpointLoaded
    | system.StateCorrupted
    | system.StateRecovered
    | system.MindRewound
    | system.SubscriptionLagged
    | system.DeliveryDeadLettered
    | system.CustomEvent
    | system.WorkThrottled
    | system.AlertUndelivered
)
"""Any payload. msgspec tells them apart by the integer tag."""

__all__ = ["Payload"]
