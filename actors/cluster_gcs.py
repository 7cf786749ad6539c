"""Starting a dead GCS again, under the raylets, actors and drivers that live on without it.

Ray leaves this to the platform. It needs ``RAY_gcs_storage=rocksdb`` when the cluster starts: then the tables are on disk, and a new
GCS on the old port knows every actor. Meanwhile calls between actors go on; only names and starts of actors wait.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from actors.cluster import ClusterInfo, record
from actors.cluster_environment import gcs_storage, head_environment, keeps_gcs
from tori.errors import PermanentError
from tori.resources.process import is_alive, mark_process

GCS = "gcs_server"


def restart_gcs(info: ClusterInfo) -> ClusterInfo:
    """Start the GCS of a cluster that ``cluster.start`` made again, unless it lives; return the cluster as it is now.

    Raises PermanentError when the cluster keeps its tables in memory: a new GCS would know nobody.
    """
    dead = [process for process in info.processes if process.name == GCS]
    if any(map(is_alive, dead)):
        return info
    home = Path(info.home)
    if not info.gcs_command or not keeps_gcs() or not gcs_storage(home).is_dir():
        raise PermanentError(
            f"The GCS of the cluster at {info.address} cannot be started again: its tables died with it.",
            remedy="Start clusters with RAY_gcs_storage=rocksdb, or run tori up for a new one.",
        )
    token_path = Path(info.token_path) if info.token_path else None
    environment = head_environment(token_path, gcs_storage(home))
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    pid = os.posix_spawn(info.gcs_command[0], info.gcs_command, environment, file_actions=null, setsid=True)
    others = tuple(process for process in info.processes if process.name != GCS)
    now = msgspec.structs.replace(info, processes=(*others, mark_process(GCS, pid)))
    record(home, now)
    return now
