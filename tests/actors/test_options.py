"""What Ray is asked to reserve for an attempt."""

from __future__ import annotations

from actors.options import run_options
from tori.scheduler.spec import Resources


def test_gpus_are_asked_for_by_the_name_ray_knows_them_by() -> None:
    options = run_options(Resources(num_cpus=2, memory_bytes=5, custom={"GPU": 0.5, "accel": 1}), "t")
    assert (options["num_cpus"], options["memory"], options["num_gpus"]) == (2, 5, 0.5)
    assert options["resources"] == {"accel": 1}
    plain = run_options(Resources(), "t")
    assert not plain.keys() & {"num_gpus", "resources", "memory"}
