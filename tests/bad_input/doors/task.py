"""Tasks that people bring: files whose decorated functions cannot run, cannot travel or never would be due."""

from __future__ import annotations

from tests.bad_input.bench import Bench
from tests.bad_input.case import Door, Outcome

DOOR = Door("`tori task ship FILE.py`", __doc__)
HEAD = "from tori.scheduler.spec import *\nfrom tori.scheduler.trigger import *\nfrom tori.scheduler.user import task\n"


def add(given: str, code: str, *says: str, exit_code: int = 78) -> None:
    def run(bench: Bench) -> Outcome:
        from actors.backend import RayBackend

        file = bench.place / "jobs.py"
        file.write_text(HEAD + code)
        return bench.tori("task", "ship", str(file), backend=RayBackend())

    DOOR.add(given, run, *says, exit_code=exit_code)


add("a decorated lambda", "task()(lambda: 1)", "a lambda cannot be a task", "Give it a name with def.")
add(
    "a decorated method",
    "class C:\n    @task()\n    def f(self): pass",
    "stands inside a function or class",
    "Move it to the top of its module.",
)
add(
    "a function that holds a lock",
    "import threading\nL = threading.Lock()\n@task()\ndef f():\n    with L: pass",
    "task tori_shipped_jobs.f cannot travel",
    "inside the function",
    exit_code=65,
)
add(
    "a task that asks for 10^9 CPUs",
    "@task(resources=Resources(num_cpus=1e9))\ndef f(): pass",
    "1e+09 CPU is more than any cluster has",
    "Ask for 0 to 100,000.",
)
add("a cron that never fires", "@task(CronTrigger('0 0 31 2 *'))\ndef f(): pass", "never fires", "31")
add(
    "two tasks that follow each other",
    "@task(AfterTrigger(('b',)), task_id='a')\ndef f(): pass\n@task(AfterTrigger(('a',)), task_id='b')\ndef g(): pass",
    "tasks follow one another in a circle: a -> b -> a",
    "Break it: it would never end.",
)
add("an option that no task has", "@task(speed=9)\ndef f(): pass", "a task has no option 'speed'", "It has deadline_s")
add("a file without a task", "x = 1", "there is no task in", "Decorate a function with @task(...).", exit_code=65)
add("a file that does not import", "1 / 0", "ZeroDivisionError: division by zero", "Mend it first.", exit_code=65)
add(
    "a cron that is only a text",
    "@task('30 6 * * *')\ndef f(): pass",
    "'30 6 * * *' cannot stand there.",
    'Write CronTrigger("30 6 * * *")',
)
add(
    "a number of retries for a policy",
    "@task(retry=3)\ndef f(): pass",
    "3 cannot stand there.",
    "Write RetryPolicy(retries=3).",
)
add(
    "a priority that is none",
    "@task(priority='urgent')\ndef f(): pass",
    "'urgent' is no such word.",
    "Write one of critical, high, normal, low, background.",
)
add(
    "a time-out in quotes",
    "@task(timeout_s='60')\ndef f(): pass",
    "'60' is no number.",
    "Write one, without quotes.",
)
add("a decorator without brackets", "@task\ndef f(): pass", "f is no trigger.", "Write @task(), with brackets.")
add(
    "a jitter longer than the interval",
    "@task(IntervalTrigger(10), jitter_s=30)\ndef f(): pass",
    "is more than its interval of 10 s.",
    "make it smaller.",
)
