"""On the path of the benchmark's cluster: puts the bulky module in the place of a real one, in every process."""

from tori.modules.registry import PATHS

PATHS["scars"] = "scripts.bench.bulk_module:Bulk"
