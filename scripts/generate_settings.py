"""Write docs/settings.md from the settings; with --check, only say whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tori.settings import FILE, Settings
from tori.settings.describe import leaves, reasons, sections, unit_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

_INTRODUCTION = f"""# Settings

Generated from `tori/settings` by `scripts/generate_settings.py`; change it there.

A value comes from, the last one wins: the default, `{FILE}` in the home, a `TORI_` variable, the command line.
In a variable two underscores stand for a dot: `TORI_RAY__CPUS=2`. An unknown key is an error that names the nearest known
one (exit code 78). `tori config show` prints what is in force and where it comes from. The home itself is `--home`, else
`TORI_HOME`, else `~/.tori`.

```toml
# {FILE}
[ray]
cpus = 2

[modules.wormhole]
per_document = 5
```
"""


def page() -> str:
    """Return docs/settings.md."""
    parts, said = [_INTRODUCTION], reasons(Settings)
    for name, section in sections(Settings):
        own = [(key, field) for key, field in leaves(section) if "." not in key]
        if not own:
            continue
        lines = [
            f"## {name}",
            "",
            (section.__doc__ or "").strip(),
            "",
            "| key | default | unit | why |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{key}` | {_value(field.default)} | {unit_of(field)} | {said.get(f'{name}.{key}', '')} |"
            for key, field in own
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts).replace("``", "`")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value!r}`".replace("'", '"')


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` return 1 when it is stale."""
    is_stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page()
    if is_stale and "--check" in arguments:
        print(f"docs/{PAGE.name} is stale: run scripts/generate_settings.py")
        return 1
    if is_stale:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"wrote docs/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
