"""The table of all settings, made from their class: ``python -m worker.protocol.settings_table README.md``.

Writes it between the two marks of the file that is named.
"""

from __future__ import annotations

import sys
from pathlib import Path

from editing_core.errors import InvalidSettings
from worker.protocol.configuration.effective import as_text
from worker.protocol.settings import Settings, variables

BEGIN, END = "<!-- settings -->\n", "\n<!-- end of settings -->"


def settings_table() -> str:
    """Markdown: variable, meaning, default."""
    rows = ["| variable | meaning | default |", "|---|---|---|"]
    for name, variable in variables().items():
        field = Settings.model_fields[name]
        default = as_text(field.default)
        rows.append(f"| `{variable}` | {field.description} | {f'`{default}`' if default is not None else ''} |")
    return "\n".join(rows)


def with_table(text: str) -> str:
    """The text with the table between its marks. Raises InvalidSettings when they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidSettings(f"the marks {BEGIN.strip()} and {END.strip()} are missing: put them where the table goes")
    return f"{before}{begin}{settings_table()}{end}{after}"


def main() -> None:
    """Write the table into the file."""
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
