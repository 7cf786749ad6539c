"""Settings: layers, clear errors, rows that explain, plain values for actors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import generate_settings
from tori.errors import BadSettings
from tori.modules.settings import module_settings, settings_struct
from tori.modules.wormhole.settings import WormholeSettings
from tori.scheduler.spec import default_specs
from tori.settings import FILE, Settings, load_settings
from tori.settings.describe import leaves


def load(home: Path, toml: str = "", **environment: str) -> Settings:
    (home / FILE).write_text(toml)
    return load_settings(home, environment=environment)


def row(settings: Settings, name: str) -> tuple[object, str]:
    found = next(row for row in settings.describe() if row["name"] == name)
    return found["value"], found["origin"]


def test_the_defaults_are_those_of_the_catalogue() -> None:
    settings = load_settings(Path("/nowhere"), environment={})
    assert settings.limits.concurrent_runs == 16
    assert settings.limits.resource_check_s == 5.0
    assert settings.limits.handler_timeout_s == 30.0
    assert settings.limits.retries == 3
    assert settings.limits.cpu_share == 0.80
    assert settings.limits.start_timeout_s == 30.0
    assert settings.checkpoint.keep == 5
    assert settings.journal.ack == "disk"


def test_the_task_intervals_are_those_of_the_scheduler() -> None:
    settings = load_settings(Path("/nowhere"), environment={})
    specs = {spec.task_type: spec.trigger.interval_s for spec in default_specs()}  # type: ignore[attr-defined]  # all periodic
    assert settings.tasks.intervals() == specs
    assert default_specs(intervals=settings.tasks.intervals()) == default_specs()


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    toml = "[ray]\ncpus = 1\nobject_store_bytes = 134217728\ndashboard = true\n"
    (tmp_path / FILE).write_text(toml)
    environment = {"TORI_RAY__CPUS": "2", "TORI_RAY__DASHBOARD": "false", "TORI_HOME": "/elsewhere", "TORI_DEBUG": "1"}
    settings = load_settings(tmp_path, {"ray.cpus": 3}, environment)

    assert row(settings, "ray.cpus") == (3, "command line")
    assert row(settings, "ray.dashboard") == (False, "TORI_RAY__DASHBOARD")
    assert row(settings, "ray.object_store_bytes") == (128 << 20, str(tmp_path / FILE))
    assert row(settings, "ray.auth") == (True, "default")
    assert settings.home == tmp_path


def test_groups_have_slots_in_the_file_and_in_the_environment(tmp_path: Path) -> None:
    assert load(tmp_path, '[limits]\ngroups = "disk=2, mail=1"\n').limits.groups == "disk=2, mail=1"
    assert load(tmp_path, TORI_LIMITS__GROUPS="disk=3").limits.groups == "disk=3"
    for bad in ("disk", "disk=0", "disk=2;mail=1", "=2", "disk=two", "disk=1,disk=2", "scans=9"):
        with pytest.raises(BadSettings, match="TORI_LIMITS__GROUPS: limits.groups = "):
            load(tmp_path, TORI_LIMITS__GROUPS=bad)


def test_the_home_is_told_or_in_the_environment_or_the_person_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(environment={}).home == tmp_path / ".tori"
    assert load_settings(environment={"TORI_HOME": str(tmp_path / "mind")}).home == tmp_path / "mind"
    assert load_settings(Path("~/x"), environment={}).home == tmp_path / "x"


def test_a_module_s_knobs_are_its_own_struct_s(tmp_path: Path) -> None:
    settings = load(tmp_path, "[modules.wormhole]\nper_document = 5\n", TORI_MODULES__WORMHOLE__FDR="0.1")
    assert module_settings("wormhole", settings.plain()) == WormholeSettings(per_document=5, fdr=0.1)
    assert module_settings("clients", settings.plain()) is None
    assert settings_struct("no_such_module") is None


@pytest.mark.parametrize(
    ("toml", "key", "nearest"),
    [
        ("[ray]\ncpu = 2", "ray.cpu", "ray.cpus"),
        ("[rai]\ncpus = 2", "rai", "ray"),
        ("[limits]\nkeep = 3", "limits.keep", "checkpoint.keep"),
        ("[modules.wormholes]\nfdr = 0.1", "modules.wormholes", "modules.wormhole"),
        ("[modules.wormhole]\nfrd = 0.1", "modules.wormhole.frd", "modules.wormhole.fdr"),
        ("concurrent_runs = 3", "concurrent_runs", "limits.concurrent_runs"),
    ],
)
def test_a_typo_names_the_file_the_key_and_the_nearest_valid_one(
    tmp_path: Path, toml: str, key: str, nearest: str
) -> None:
    with pytest.raises(BadSettings) as caught:
        load(tmp_path, toml)
    assert str(caught.value) == f"{tmp_path / FILE}: there is no setting {key}. Did you mean {nearest}?"
    assert caught.value.exit_code == 78


def test_a_typo_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"TORI_RAY__CPSU: there is no setting ray\.cpsu\. Did you mean ray\.cpus\?"):
        load(tmp_path, TORI_RAY__CPSU="2")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[ray]\ncpus = -1", "ray.cpus = -1 is not valid: input should be greater than or equal to 0."),
        ("[ray]\ncpus = 1.5", "ray.cpus = 1.5 is not valid"),
        ("[journal]\nack = 'never'", "journal.ack = 'never' is not valid: input should be 'disk' or 'os'."),
        ("[limits]\ncpu_share = 80", "limits.cpu_share = 80 is not valid: input should be less than 1."),
        ("[limits]\nhandler_timeout_s = nan", "limits.handler_timeout_s = nan is not valid"),
        ("[tasks]\nalien_audit_s = 0", "tasks.alien_audit_s = 0 is not valid: input should be greater than 0."),
        ("[ray]\naddress = 'nowhere'", "ray.address = 'nowhere' is not valid"),
        ("[ray]\ncpus = [1, 'x']", "ray.cpus = [1, 'x'] is not valid"),
        ("[modules.scars]\ndraws = -1", "modules.scars.draws = -1 is not valid"),
        ("ray = 1", "ray is a section, not a value. Write [ray], keys below."),
        ("home = 'x'", "home cannot be set there. Use --home or TORI_HOME."),
        ("[ray\n", "cannot be read: "),
    ],
)
def test_a_bad_value_names_the_file_the_key_the_value_and_the_rule(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load(tmp_path, toml)
    assert message in str(caught.value)
    assert str(tmp_path / FILE) in str(caught.value)


def test_a_bad_value_from_a_caller_says_so() -> None:
    with pytest.raises(BadSettings, match=r"command line: ray\.cpus = 'many' is not valid"):
        load_settings(Path("/nowhere"), {"ray.cpus": "many"}, {})


def test_every_setting_gives_a_reason_and_every_quantity_a_unit() -> None:
    rows = load_settings(Path("/nowhere"), environment={}).describe()
    assert [row["name"] for row in rows if not row["reason"]] == []
    assert [row["name"] for row in rows if row["name"].endswith(("_s", "_bytes", "_share")) and not row["unit"]] == []
    assert len({row["name"] for row in rows}) == len(rows) == len(list(leaves(Settings)))
    assert all(row["value"] == row["default"] for row in rows if row["name"] != "home")


def test_settings_do_not_change_and_travel_as_plain_json(tmp_path: Path) -> None:
    settings = load(tmp_path, "[ray]\ncpus = 4\n")
    with pytest.raises(ValueError, match="frozen"):
        settings.ray.cpus = 5  # type: ignore[misc]  # that it cannot be assigned is the point
    plain = settings.plain()
    assert json.loads(json.dumps(plain)) == plain
    assert Settings.model_validate(plain).plain() == plain


def test_what_actors_need_does_not_import_pydantic() -> None:
    script = "import sys, tori.modules.settings; tori.modules.settings.settings_struct('wormhole'); print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_page_is_current() -> None:
    assert generate_settings.main(["--check"]) == 0


@given(st.dictionaries(st.sampled_from(["ray.cpus", "checkpoint.keep", "limits.retries"]), st.integers(1, 100)))
def test_overrides_come_back_and_nothing_else_moves(overrides: dict[str, int]) -> None:
    settings = load_settings(Path("/nowhere"), overrides, {})
    rows = {row["name"]: row for row in settings.describe()}
    assert {name: rows[name]["value"] for name in overrides} == overrides
    assert all(rows[name]["origin"] == "default" for name in rows if name not in overrides)
