"""The command line: words that mean nothing, ids of nothing, addresses where nobody is, terminals that cannot show a letter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

from tests.bad_input.bench import Bench
from tests.bad_input.case import Door, Outcome

DOOR = Door("command line", __doc__)
IDS = "Use an id that ask, map, bridges,"


def add(words: str, *says: str, exit_code: int = 65) -> None:
    DOOR.add(f"`tori {words}`", lambda bench: bench.tori(*words.split()), *says, exit_code=exit_code)


DOOR.add("an empty question", lambda b: b.tori("ask", " "), "the question is empty.", "Write it in quotes")
add("ask roses --top 0", "--top is 0.", "Give a number above 0.")
add("bridges --limit -3", "--limit is -3.", "Give a number above 0.")
add("tail --count 0", "--count is 0.", "Give a number above 0.")
add("tail --count many", "Invalid value for '-n' / '--count'", "Try `tori --help`.", exit_code=2)
add("tail --type ConceptAded", "there is no event type 'ConceptAded'.", "Did you mean ConceptAdded")
add("why nonsense", "nothing here is called 'nonsense'.", IDS)
add("why [/red]", "nothing here is called '[/red]'.", IDS)
add(f"why {'0' * 32}", f"no journal here holds the event {'0' * 32}.", "Check the id with `tori tail`")
add("accept w-nothing", "w-nothing", "tori bridges")
add("task run nonsense", "there is no task 'nonsense'.", "Tasks: ")
add("reload", "no module is named.", "tori reload MODULE")
add("frobnicate", "No such command 'frobnicate'.", "Try `tori --help`.", exit_code=2)
add("status --colour", "No such option: --colour", "Try `tori --help`.", exit_code=2)
add("why", "Missing argument", "Try `tori --help`.", exit_code=2)


@DOOR.case("no system in the home", "no TORI runs in", "Start it with tori up.", exit_code=69)
def nothing_runs(bench: Bench) -> Outcome:
    return bench.tori("status", backend=_ray())


def _ray() -> object:
    from actors.backend import RayBackend

    return RayBackend()


def at(address: str) -> object:
    return lambda bench: bench.tori("status", "--address", address, backend=_ray())


PORT = "Write it as host:port, like 127.0.0.1:6379."
DOOR.add("`--address nonsense`", at("nonsense"), "'nonsense' is no address.", PORT)  # type: ignore[arg-type]  # see at
DOOR.add("`--address host:99999`", at("host:99999"), "'host:99999' is no address.", PORT)  # type: ignore[arg-type]  # see at
DOOR.add(
    "an address where nobody answers",
    at("127.0.0.1:9"),  # type: ignore[arg-type]  # see at
    "No Ray cluster answers at 127.0.0.1:9",
    "Start one with `tori up`.",
    exit_code=69,
)


@DOOR.case("the address of a web server", "is no Ray cluster.", "Give the port of the head's GCS", exit_code=69)
def not_ray(bench: Bench) -> Outcome:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1_024)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        return at(f"127.0.0.1:{server.getsockname()[1]}")(bench)  # type: ignore[operator,no-any-return]  # see at


PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
"""An environment in which Python knows ASCII only."""


def in_plain_locale(bench: Bench, source: bytes, *, python: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-c", f"{python}from tori.cli.main import main; main()", b"ingest", source],
        capture_output=True,
        env=os.environ | {"TORI_HOME": str(bench.place)} | PLAIN,
        check=False,
    )
    return Outcome(done.stderr.decode("ascii"), done.returncode)


@DOOR.case("a locale that is not UTF-8", "there is no file or folder 'caf\\udcc3\\udca9'.", "Give a path")
def plain_locale(bench: Bench) -> Outcome:
    return in_plain_locale(bench, "café".encode(), python="")


@DOOR.case("a letter that the locale cannot spell", "is no path in this locale's encoding.", "Set LC_ALL=C.UTF-8")
def letter(bench: Bench) -> Outcome:
    return in_plain_locale(bench, b"x", python="import sys; sys.argv[2] = 'caf' + chr(233); ")


@DOOR.case("a reader that closes the pipe", exit_code=141)
def closed_pipe(bench: Bench) -> Outcome:
    code = "import sys; sys.argv = ['tori', 'config', 'show', '--json']; from tori.cli.main import main; main()"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=os.environ | {"TORI_HOME": str(bench.place)},
        check=False,
    )
    os.close(writing)
    return Outcome(done.stderr.decode(), done.returncode)


@DOOR.case(
    "a file name that is no text, with --json", '"error": "BadInput"', "of the 1 inputs", "The reasons are above."
)
def json_of_bytes(bench: Bench) -> Outcome:
    folder = bench.place / "in"
    folder.mkdir()
    with open(os.fsencode(folder) + b"/caf\xe9.md", "w") as file:
        file.write("text")
    return bench.tori("ingest", str(folder), "--json")
