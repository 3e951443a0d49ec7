"""The settings file: TOML with one line per setting.

The name of a setting is its environment variable in lower case, without ``ERRATA_``. Values are validated later,
like values from the environment.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path

from editing_core.errors import InvalidSettings


def read_file(path: Path, names: Collection[str]) -> dict[str, object]:
    """Return the settings by name. Raises InvalidSettings for an unreadable file and for names not in ``names``."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(f"the settings file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"the settings file {path} is not TOML: {error}") from None
    for name, value in content.items():
        if name not in names:
            raise InvalidSettings(f"unknown setting {name!r} in {path}{_nearest(name, names)}")
        if isinstance(value, dict):
            raise InvalidSettings(f"{name} in {path} is a table: settings are written as {name} = VALUE")
    return content


def _nearest(name: str, names: Collection[str]) -> str:
    plain = name.lower().removeprefix("errata_")
    found = [plain] if plain in names else difflib.get_close_matches(plain, names, n=1)
    return f": did you mean {found[0]}?" if found else ": `errata config` lists all settings"
