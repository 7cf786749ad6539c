"""The idle benchmark measures what it says: the processes of the actors, against empty ones of the same run."""

from __future__ import annotations

from actors.cluster import ClusterInfo
from scripts.bench.idle import measure
from scripts.bench.idle_actors import Empty, EventReader


def test_the_benchmark_measures_actors_against_empty_ones(shared_cluster: ClusterInfo) -> None:
    import ray

    readers = [ray.remote(num_cpus=0, max_concurrency=4)(EventReader).remote() for _ in range(2)]
    empty = ray.remote(num_cpus=0)(Empty).remote()
    groups = {"readers": ray.get([r.ready.remote() for r in readers]), "empty": ray.get([empty.ready.remote()])}
    report = measure(groups, seconds=0.5, settle_s=0.0)

    assert report["empty_actor"]["measured"] == 2
    assert report["empty_actor"]["pss_mb"] > 10
    reader = report["groups"]["readers"]
    assert reader["actors"] == 2
    above = reader["pss_mb"] - 2 * report["empty_actor"]["pss_mb"]
    assert abs(reader["above_empty_pss_mb"] - above) <= 0.25  # roundings of 0.05 each
    assert abs(report["groups"]["empty"]["above_empty_pss_mb"]) < 20
