"""The benchmark measures what it says: followers see exactly what was produced, in both modes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tori.bus import bench


@pytest.mark.parametrize("mode", ["disk", "os"])
@pytest.mark.parametrize("is_paced", [False, True])
def test_checksums_agree(tmp_path: Path, mode: str, is_paced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.time, "sleep", lambda _: None)
    monkeypatch.setattr(bench, "SEGMENT_BYTES", 1 << 20)
    producer = bench.Producer(tmp_path / "bench", mode)
    consumer = bench.Consumer(tmp_path / "bench", "durable" if mode == "disk" else "written")
    done = threading.Event()
    taken: list[bench.Taken] = []
    follower = threading.Thread(target=lambda: taken.append(consumer.run(done.is_set, is_paced=is_paced)))
    follower.start()
    offered = producer.pace(0.1, 2000) if is_paced else producer.flood(0.1, 50)
    done.set()
    follower.join()
    assert offered.count > 0
    assert (taken[0].count, taken[0].checksum) == (offered.count, offered.checksum)
    assert len(taken[0].latencies_ns) == (offered.count if is_paced else 0)
    assert bench.sync_latencies_ms(tmp_path, 512, 5)
    consumer.close()
    producer.close()
