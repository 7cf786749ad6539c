"""Settings: ``tori.toml`` in the home and ``TORI_`` variables, looked at by ``tori config check``."""

from __future__ import annotations

import os
from collections.abc import Callable
from unittest.mock import patch

from tests.bad_input.bench import Bench
from tests.bad_input.case import Door, Outcome

DOOR = Door("settings", __doc__)
PAGE = "docs/settings.md says what it may be."


def toml(content: str | bytes) -> Callable[[Bench], Outcome]:
    def run(bench: Bench) -> Outcome:
        home = bench.place / "home"
        home.mkdir()
        (home / "tori.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return bench.tori("config", "check")

    return run


def variable(name: str, value: str) -> Callable[[Bench], Outcome]:
    def run(bench: Bench) -> Outcome:
        with patch.dict(os.environ, {name: value}):
            return bench.tori("config", "check")

    return run


def add(given: str, run: Callable[[Bench], Outcome], *says: str) -> None:
    DOOR.add(given, run, *says, exit_code=78)


add(
    "TOML with a typo",
    toml("[journal]\nsegment_size_byte = 1\n"),
    "no setting journal.segment_size_byte.",
    "Did you mean journal.segment_size_bytes?",
)
add("an unknown section", toml("[jurnal]\nack = 'os'\n"), "there is no setting jurnal", "Did you mean journal")
add("text that is no TOML", toml("journal = [\n"), "tori.toml cannot be read", "Correct it")
add("TOML that is not UTF-8", toml(b"# caf\xe9\n"), "tori.toml cannot be read", "Correct it")
add("a value of the wrong type", toml("[ray]\ncpus = 'many'\n"), "ray.cpus = 'many' is not valid", PAGE)
add("a value out of range", toml("[checkpoint]\nkeep = 0\n"), "checkpoint.keep = 0 is not valid", PAGE)
add("a negative limit", toml("[limits]\nconcurrent_runs = -1\n"), "limits.concurrent_runs = -1 is not valid", PAGE)
add("NaN", toml("[tasks]\nalien_audit_s = nan\n"), "tasks.alien_audit_s = nan is not valid", PAGE)
add(
    "a word that is none of the choices", toml("[journal]\nack = 'never'\n"), "journal.ack = 'never' is not valid", PAGE
)
add("a value for a section", toml("ray = 3\n"), "ray is a section, not a value.", "Write [ray], keys below.")
add("a home in the file", toml("home = 'elsewhere'\n"), "home cannot be set there.", "Use --home or TORI_HOME.")
add(
    "a variable with a bad value",
    variable("TORI_RAY__CPUS", "-2"),
    "TORI_RAY__CPUS: ray.cpus = '-2' is not valid",
    PAGE,
)
add(
    "a variable of no setting",
    variable("TORI_RAY__CPU", "2"),
    "TORI_RAY__CPU: there is no setting ray.cpu.",
    "Did you mean ray.cpus?",
)
add(
    "a variable with one underscore",
    variable("TORI_RAY_CPUS", "2"),
    "no variable TORI_RAY_CPUS.",
    "Did you mean TORI_RAY__CPUS?",
)
add("an address in the file that is none", toml("[ray]\naddress = 'here'\n"), "ray.address = 'here' is not valid", PAGE)
NO_HOST = "alerts.webhook_url names no host and port that can be."
for given, url, says in (
    ("a path that is not ASCII", "http://h/h\u00f6", ("alerts.webhook_url holds characters", "as %XX in the path")),
    ("an empty label", "http://.example.org/", (NO_HOST, "Write https://HOST:PORT/PATH")),
    ("a label of 70 characters", f"http://{'x' * 70}.org/", (NO_HOST, "labels of 1 to 63 characters")),
    ("half an IPv6 address", "http://[::1/", (NO_HOST, "an IPv6 address in brackets.")),
):
    add(f"a webhook with {given}", variable("TORI_ALERTS__WEBHOOK_URL", url), *says)


@DOOR.case(
    "a webhook's secret in Cyrillic letters",
    "TORI_WEBHOOK_SECRET holds a line break or a character that no HTTP header can carry.",
    "Set it again",
    exit_code=78,
)
def secret(bench: Bench) -> Outcome:
    with patch.dict(
        os.environ,
        {"TORI_ALERTS__WEBHOOK_URL": "http://h/", "TORI_WEBHOOK_SECRET": "\u0441\u0435\u043a\u0440\u0435\u0442"},
    ):
        return bench.tori("config", "check")


@DOOR.case("a webhook's secret that ends with a line", exit_code=0)
def secret_of_a_file(bench: Bench) -> Outcome:
    with patch.dict(os.environ, {"TORI_ALERTS__WEBHOOK_URL": "http://h/", "TORI_WEBHOOK_SECRET": "Bearer s3cret\n"}):
        return bench.tori("config", "check")


@DOOR.case(
    "a folder in place of tori.toml", "tori.toml cannot be read: [Errno 21] Is a directory", "Correct it", exit_code=78
)
def folder(bench: Bench) -> Outcome:
    (bench.place / "home" / "tori.toml").mkdir(parents=True)
    return bench.tori("config", "check")


@DOOR.case("a home that is a file", "cannot be a home: it is not a directory.", "--home or TORI_HOME.", exit_code=78)
def home_is_a_file(bench: Bench) -> Outcome:
    (bench.place / "home").write_text("x")
    return bench.tori("config", "check")


@DOOR.case("a home of a user who is not there", "is no path", "Write the path out.")
def home_of_nobody(bench: Bench) -> Outcome:
    return bench.tori("config", "check", "--home", "~nobody-here/tori")
