"""Write docs/bad-input.md from the table of cases in tests/bad_input; with --check, only say whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.bad_input.case import Case  # noqa: E402  # the tests are not installed
from tests.bad_input.table import CASES, DOORS  # noqa: E402  # the tests are not installed

PAGE = ROOT / "docs" / "bad-input.md"

_INTRODUCTION = """# Bad input

Generated from `tests/bad_input/doors` by `scripts/generate_bad_input.py`; change it there. {count} cases at {doors} doors; each row is
a test that uses the door: `tests/bad_input` holds TORI to the words, the exit code and the digest.

- **says**: parts of the one message, the cause first, then the remedy. *(taken)*: nothing is wrong enough to refuse it.
- **exit**: what the command line ends with ([exit-codes.md](exit-codes.md)); where the door is a Python call, what the error would end
  with. 0 beside a message: the input that is named was left out, and the rest was taken.
- **digest**: the digest of the mind before and after. *unchanged after the remedy*: nothing could be opened; once the message's advice
  was followed (what was damaged put back), the digest was the old one.

Where a folder or file holds nothing but the bad input, the command ends with 65; beside good ones it is named on standard error and
in the JSON answer (`refusals`).
"""


def page() -> str:
    """Return docs/bad-input.md."""
    parts = [_INTRODUCTION.format(count=len(CASES), doors=len(DOORS))]
    for door in DOORS:
        rows = [_row(case) for case in door.cases]
        head = f"## {door.name[:1].upper()}{door.name[1:]}\n\n{door.meaning}"
        parts.append("\n".join([head, "", "| given | says | exit | digest |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(parts).replace("``", "`")


def _row(case: Case) -> str:
    said = " … ".join(_cell(part) for part in case.says) or "*(taken)*"
    return f"| {_cell(case.given)} | {said} | {case.exit_code} | {case.digest} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` return 1 when it is stale."""
    is_stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page()
    if is_stale and "--check" in arguments:
        print(f"docs/{PAGE.name} is stale: run scripts/generate_bad_input.py")
        return 1
    if is_stale:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"wrote docs/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
