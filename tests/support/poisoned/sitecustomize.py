"""On the path of a test cluster's processes: puts a poisoned module in the place of a real one."""

from tori.modules.registry import PATHS

PATHS["scars"] = "tests.support.poisoned_scars:PoisonedScars"
