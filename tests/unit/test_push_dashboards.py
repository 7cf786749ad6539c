"""Pushing dashboards: what Grafana is sent, and what a person is told when it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from scripts import push_dashboards


class FakeGrafana:
    """Remembers what it was sent."""

    def __init__(self) -> None:
        self.dashboard = self
        self.sent: list[dict[str, Any]] = []

    def update_dashboard(self, dashboard: dict[str, Any]) -> dict[str, str]:
        self.sent.append(dashboard)
        return {"url": "/d/tori"}


def test_every_dashboard_is_pushed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeGrafana()
    monkeypatch.setenv("GRAFANA_TOKEN", "secret")
    monkeypatch.setattr(push_dashboards, "GrafanaFace", lambda **_: fake)
    assert push_dashboards.main([]) == 0
    assert [d["overwrite"] for d in fake.sent] == [True]
    assert fake.sent[0]["dashboard"]["panels"]
    assert "/d/tori" in capsys.readouterr().out


def test_a_missing_token_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("GRAFANA_TOKEN", raising=False)
    assert push_dashboards.main([]) == 78
    assert "GRAFANA_TOKEN" in capsys.readouterr().err


def test_a_refusal_is_an_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "secret")
    monkeypatch.setattr(push_dashboards, "GrafanaFace", lambda **_: object())
    assert push_dashboards.main(["--host", "nowhere:1"]) == 1
    assert "nowhere:1" in capsys.readouterr().err
