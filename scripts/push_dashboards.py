"""Pushes the dashboards of ``dashboards/grafana`` into a running Grafana.

    GRAFANA_TOKEN=... python scripts/push_dashboards.py --host localhost:3000 [--protocol https] [--folder TORI]

Pushing again replaces what is there. Exit code 1 names the dashboard that Grafana refused.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grafana_api.grafana_face import GrafanaFace

DASHBOARDS = Path(__file__).resolve().parents[1] / "dashboards" / "grafana"


def main(arguments: Sequence[str] | None = None) -> int:
    """Push every dashboard; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="localhost:3000")
    parser.add_argument("--protocol", choices=("http", "https"), default="http")
    parser.add_argument("--message", default="from the metric catalogue")
    options = parser.parse_args(arguments)
    token = os.environ.get("GRAFANA_TOKEN", "")
    if not token:
        print(
            "GRAFANA_TOKEN is not set: make a service account token with the role Editor in Grafana.", file=sys.stderr
        )
        return 78
    grafana = GrafanaFace(auth=token, host=options.host, protocol=options.protocol)
    for path in sorted(DASHBOARDS.glob("*.json")):
        try:
            print(f"{path.name}: {push(grafana, path, options.message)}")
        except Exception as error:
            print(f"{path.name}: Grafana at {options.host} refused it: {error}", file=sys.stderr)
            return 1
    return 0


def push(grafana: Any, path: Path, message: str) -> str:
    """Push one dashboard, replacing an older one with the same uid; return its address inside Grafana."""
    body = {"dashboard": json.loads(path.read_text()) | {"id": None}, "overwrite": True, "message": message}
    answer = grafana.dashboard.update_dashboard(dashboard=body)
    return str(answer.get("url", "?"))


if __name__ == "__main__":
    sys.exit(main())
