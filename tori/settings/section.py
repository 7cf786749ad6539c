"""The sections and fields. The text under a field says why its default is what it is; its unit stands in the field.

Only doors import this (pydantic takes 20 MB): actors are given ``Settings.plain()``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr

from tori.settings.describe import Row, rows
from tori.settings.module import ModuleSettings

MIB = 1 << 20
_GROUPS = r"^\s*$|^[^=,]+=\s*[1-9]\d{0,3}\s*(,[^=,]+=\s*[1-9]\d{0,3}\s*)*$"


def check_groups(text: str) -> str:
    """Return slots by group as they are; raises ValueError for a group that stands there twice, or has a setting of its own."""
    names = [part.partition("=")[0].strip() for part in text.split(",")]
    if len(set(names)) < len(names) or "scans" in names:
        raise ValueError("each group stands there once, and scans have limits.concurrent_scans")
    return text


def unit(name: str) -> Any:
    """Return the annotation that states a field's unit."""
    return Field(json_schema_extra={"unit": name})


Seconds = Annotated[float, unit("s"), Field(gt=0, le=31_536_000)]
Bytes = Annotated[int, unit("bytes")]
Share = Annotated[float, unit("share of 1"), Field(gt=0, lt=1)]


class Section(BaseModel):
    """Base of every section: frozen, and nothing unknown gets in."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RaySettings(Section):
    """The Ray cluster TORI starts or joins."""

    address: Annotated[str, Field(pattern=r"^$|^[^\s:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$")] = ""
    """host:port of a cluster to join. Empty = TORI starts one of its own, reachable from this machine only."""
    cpus: Annotated[int, unit("CPUs"), Field(ge=0, le=4096)] = 0
    """CPUs for scans; 0 = all. Modules take none: they mostly sleep."""
    object_store_bytes: Annotated[Bytes, Field(ge=80 * MIB)] = 256 * MIB
    """Snapshots and batches pass through it and leave soon; it is taken from memory only when used. 80 MiB is Ray's least."""
    node_ip: Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+$")] = "127.0.0.1"
    """Address of this machine for the others. Loopback = nobody but this machine reaches Ray; any other asks for the token."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port at which other machines join; 0 = any free one, which `tori up` prints. Fix it where a firewall or a script must know it."""
    nodes: Annotated[int, unit("nodes"), Field(ge=1, le=1024)] = 1
    """A first start waits for this many nodes before it spreads the modules over them; later they stay where they are."""
    dashboard: bool = False
    """Ray's own dashboard costs 290 MB and 1.4 % of a core when idle; Ray Jobs need it."""
    auth: bool = True
    """Whoever reaches Ray can run code as you, so it asks for the token in the home."""
    start_timeout_s: Seconds = 60.0
    """A start takes 2 s; a cold disk or a busy small machine much longer."""
    stop_timeout_s: Seconds = 3.0
    """Ray ends in 0.1 s when it is well; after this it is killed, which loses nothing: truth is in the journals."""


class JournalSettings(Section):
    """How events reach the disk."""

    segment_size_bytes: Annotated[Bytes, Field(ge=1 * MIB, le=1024 * MIB)] = 32 * MIB
    """An epoch begins with 64 KiB and doubles up to this; half-way the next one is reserved. Larger ones roll less often."""
    fallback_commit_s: Annotated[Seconds, Field(le=1.0)] = 0.002
    """Events nobody waits for are synced this much later and share a sync; where syncs are slow, after ten syncs' time, at most 20 ms."""
    ack: Literal["disk", "os"] = "disk"
    """``disk`` survives power loss and costs an fdatasync (0.2 ms) a batch; ``os`` survives only the death of processes."""
    keep_whole: Annotated[str, unit("names"), Field(pattern=r"^([a-z]+(,[a-z]+)*)?$")] = "clients,reader"
    """Journals of these modules are kept whole: what came in and what was read from it, from which all else follows."""
    keep_size_bytes: Annotated[Bytes, Field(ge=0)] = 0
    """Beyond it the oldest segments of a journal go, as far as nobody needs them; 0 = no such limit: history is kept until asked."""
    keep_s: Annotated[float, unit("s"), Field(ge=0)] = 0.0
    """Older segments go, as far as nobody needs them; 0 = no such limit: history is kept until somebody asks for less."""
    scrub_size_bytes: Annotated[Bytes, Field(ge=0)] = 64 * MIB
    """What each module re-reads of its journal after a checkpoint, 0.1 s of work; damage is found before it is needed. 0 = nothing."""
    scrub_again_s: Seconds = 86_400.0
    """A journal that was read to its end rests this long: disks rot slowly, and an idle system should stay idle."""


class TaskSettings(Section):
    """How often each periodic task is due. A scan is skipped while nothing it reads has changed."""

    concept_selection_s: Seconds = 30.0
    """Concepts of new documents should be on the map while they are still news."""
    wormhole_scan_s: Seconds = 30.0
    """The original's documents say 30 and 300 s; as nothing runs when nothing changed, the shorter costs little."""
    alien_audit_s: Seconds = 60.0
    """An alarm a minute late is early for a corpus that grows by the day."""
    hierarchy_optimization_s: Seconds = 120.0
    """A full map costs seconds on thousands of documents; new ones are placed at once, provisionally."""
    scar_scan_s: Seconds = 120.0
    """Gaps follow the map, so not oftener than it."""
    memory_cleanup_s: Seconds = 180.0
    """Threads close after years, not minutes."""
    performance_metrics_s: Seconds = 10.0
    """As often as Ray reports its own metrics."""
    state_persistence_s: Seconds = 300.0
    """A checkpoint only shortens a restart, by at most this much replay (seconds of work at 0.5 M events/s)."""
    chaos_recovery_s: Annotated[float, unit("s"), Field(ge=0)] = 0.0
    """Kills a module on purpose to see it recover; 0 = only when somebody asks: who wants a system proved says so."""
    concept_fuzz_test_s: Annotated[float, unit("s"), Field(ge=0)] = 0.0
    """Looks for states that break a law; 0 = only when somebody asks: it computes for minutes and changes nothing."""
    hot_reload_s: Annotated[float, unit("s"), Field(ge=0)] = 0.0
    """Looks whether a module's installed code differs from what runs; 0 = only when somebody asks: a person brings new code."""

    def intervals(self) -> dict[str, float]:
        """Return the interval in seconds by task type, of those that have one."""
        return {name.removesuffix("_s"): value for name, value in self if value}


class LimitSettings(Section):
    """What keeps one part from harming the others."""

    concurrent_runs: Annotated[int, unit("runs"), Field(ge=1, le=1024)] = 16
    """The original's limit; Ray's CPUs bound what really computes at a time."""
    concurrent_scans: Annotated[int, unit("runs"), Field(ge=1, le=1024)] = 4
    """Each scan holds a copy of its module's state; four at a time leave slots for what is short, and for users' tasks."""
    groups: Annotated[str, unit("name=runs, ..."), Field(pattern=_GROUPS), AfterValidator(check_groups)] = ""
    """Slots of the groups of users' tasks, such as `disk=2, mail=1`; a group that is not named has one: who forms a group wants turns."""
    shards: Annotated[int, unit("Ray tasks a scan"), Field(ge=1, le=256)] = 2
    """What a scan that can be split (concept_fuzz_test) is spread over: two fill the smallest machine, more want more CPUs."""
    ageing_s: Seconds = 300.0
    """A run that waits this long counts as one priority more urgent, so background work comes to its turn in a quarter of an hour."""
    resource_check_s: Seconds = 5.0
    """The original's; three readings above the limit make pressure, so 15 s: a spike is none."""
    handler_timeout_s: Seconds = 30.0
    """A handler takes microseconds: one that takes this long hangs, and its process is killed."""
    request_timeout_s: Seconds = 300.0
    """A query, a scan's input or result, a snapshot: seconds on a large mind. What takes this long hangs, and its process is killed."""
    retries: Annotated[int, unit("attempts after the first"), Field(ge=0, le=100)] = 3
    """What fails four times with growing pauses fails for a reason that waiting does not remove."""
    held_deliveries: Annotated[int, unit("events a module"), Field(ge=1, le=1_000_000)] = 1024
    """Events that wait for another attempt are kept by reference, 0.3 kB each; with more of them the module takes nothing new."""
    credit_events: Annotated[int, unit("events behind"), Field(ge=1, le=1_000_000_000)] = 20_000
    """A module this far behind the documents closes the door: one or two minutes of reading, which a publisher can wait."""
    lag_alarm_events: Annotated[int, unit("events behind"), Field(ge=2, le=1_000_000_000)] = 5_000
    """From here a lag is told (SubscriptionLagged), well before the door closes, and again when it is under half of this."""
    cpu_share: Share = 0.80
    """Above it background work waits. It leaves a fifth of the machine to its owner."""
    memory_share: Share = 0.85
    """Above it background work waits, well before the kernel starts killing (Ray's own limit is 0.95)."""
    disk_share: Share = 0.90
    """Above it background work waits, while there is space left for everything under way."""
    stall_share: Share = 0.10
    """Above it background work waits, and what runs of it stops: a tenth of the time lost to waiting for memory is thrashing (PSI)."""
    object_store_share: Share = 0.80
    """Above it background work waits: Ray spills to the disk from here."""
    lag_share: Share = 0.50
    """Above this share of `credit_events` low and background work waits: reading goes first, before the door has to close."""
    start_timeout_s: Seconds = 30.0
    """A module starts in 0.6 s plus its replay from the last checkpoint."""
    restarts: Annotated[int, unit("restarts a window"), Field(ge=0, le=1000)] = 5
    """A module that fails oftener is degraded, and the others go on."""
    restart_window_s: Seconds = 60.0
    """Failures further apart than this have nothing to do with each other."""


class TrendSettings(Section):
    """When a measured series counts as changed (`PerformanceAlert`)."""

    run_length: Annotated[float, unit("values"), Field(ge=100, le=1e12)] = 100_000.0
    """Values (30 s of work) between two false alarms of one series, on average: a month of work. Less finds changes sooner."""
    least_ratio: Annotated[float, unit("after / before"), Field(ge=1.0, le=1000.0)] = 1.5
    """Smaller changes are no alert, however sure: what is half as fast again is felt, a tenth is not."""


class AlertSettings(Section):
    """Who is told when something is wrong: each alert is one POST of a CloudEvent, its `id` the key against doubles."""

    webhook_url: Annotated[str, Field(pattern=r"^$|^https?://[^\s@]+$")] = ""
    """Empty = nobody. A secret stands in the variable `TORI_WEBHOOK_SECRET` when TORI starts, never here."""
    secret_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = "Authorization"
    """Header that carries the secret, as it stands in the variable: `Bearer ...` goes into it whole."""
    timeout_s: Seconds = 10.0
    """A receiver that takes longer counts as away; alerts wait for it, nothing else does."""
    retries: Annotated[int, unit("attempts after the first"), Field(ge=0, le=100)] = 8
    """With pauses that double from 1 s to 60 s: a receiver may be away for three minutes. Then `AlertUndelivered` says so."""
    least_severity: Literal["info", "warning", "critical"] = "warning"
    """`info` tells also when something is well again; `critical` only what a person has to do something about."""
    types: Annotated[str, Field(pattern=r"^$|^[A-Za-z]+(\s*,\s*[A-Za-z]+)*$")] = ""
    """Types of events, separated by commas; empty = all that can be alerts (docs/trends.md)."""


class CheckpointSettings(Section):
    """Snapshots of every module's state; how often: ``tasks.state_persistence_s``."""

    keep: Annotated[int, unit("checkpoints"), Field(ge=1, le=1000)] = 5
    """Two would do against one corrupt checkpoint; five reach half an hour back for ``tori restore``."""
    url: Annotated[str, unit("URL"), Field(pattern=r"^$|^[a-z][a-z0-9+.-]*://\S*$")] = ""
    """A further copy of each checkpoint: ``file:///mnt/nas/tori``, ``s3://bucket/tori`` where fsspec has the driver. Empty = none."""


class UserSettings(Section):
    """What users bring."""

    tasks: Annotated[str, Field(pattern=r"^$|^[A-Za-z_][\w.]*(\s*,\s*[A-Za-z_][\w.]*)*$")] = ""
    """Modules with functions under ``@task(...)``, separated by commas. Empty = none: code runs only when it is named."""
    modules: Annotated[str, Field(pattern=r"^$|^[A-Za-z_][\w.]*(\s*,\s*[A-Za-z_][\w.]*)*$")] = ""
    """Modules with classes under ``@module(...)``, separated by commas; each becomes an actor with a journal of its own."""


class LogSettings(Section):
    """What processes write to their log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """State changes and failures, nothing per event."""
    json_lines: bool = True
    """One JSON object a line, with the ids of event and correlation: logs can be joined with ``tori why``."""


class Settings(Section):
    """Everything that can be set."""

    home: Path
    """Where state lives: journals, checkpoints, the record of the cluster. Set by --home or TORI_HOME only."""
    ray: RaySettings = RaySettings()
    journal: JournalSettings = JournalSettings()
    modules: ModuleSettings = ModuleSettings()
    tasks: TaskSettings = TaskSettings()
    limits: LimitSettings = LimitSettings()
    trends: TrendSettings = TrendSettings()
    alerts: AlertSettings = AlertSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    log: LogSettings = LogSettings()
    user: UserSettings = UserSettings()

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the same as plain JSON values, for actors (which do not import pydantic) and manifests."""
        return self.model_dump(mode="json")

    def describe(self) -> list[Row]:
        """Return one row a setting: name, value, unit, default, origin and reason."""
        return rows(self, self._origins)
