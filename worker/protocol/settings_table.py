"""Writes the tables of all settings: ``python -m worker.protocol.settings_table docs/settings.md``.

The tables come from the settings class and go between the two marks of the file: first the settings that operators
usually set, then all others.
"""

from __future__ import annotations

import sys
from pathlib import Path

from editing_core.errors import InvalidSettings
from worker.protocol.configuration.effective import as_text
from worker.protocol.settings import Settings, is_basic, variables

BEGIN, END = "<!-- settings -->\n\n", "\n\n<!-- end of settings -->"


def settings_tables() -> str:
    """Return Markdown with a table of the basic and a table of the advanced settings, each under its heading."""
    basic = [name for name in Settings.model_fields if is_basic(name)]
    advanced = [name for name in Settings.model_fields if not is_basic(name)]
    return f"## Basic settings\n\n{_table(basic)}\n\n## Advanced settings\n\n{_table(advanced)}"


def _table(names: list[str]) -> str:
    rows = ["| variable | meaning | default |", "|---|---|---|"]
    for name in names:
        field = Settings.model_fields[name]
        default = as_text(field.default)
        rows.append(
            f"| `{variables()[name]}` | {field.description} | {f'`{default}`' if default is not None else ''} |"
        )
    return "\n".join(rows)


def with_table(text: str) -> str:
    """Return the text with the tables between its marks. Raises InvalidSettings if a mark is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidSettings(
            f"the marks {BEGIN.strip()} and {END.strip()} are missing: put them where the tables belong"
        )
    return f"{before}{begin}{settings_tables()}{end}{after}"


def main() -> None:
    """Write the tables into the file."""
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
