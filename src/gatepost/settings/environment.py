"""Settings from environment variables: GATEPOST_SECTION__KEY, and lists of tables as JSON in GATEPOST_LISTENER.

Used by `settings.loader`, which hands over the variables and merges what is found over the file. Variables that do
not look like settings are left alone: schedulers put such as GATEPOST_SERVICE_HOST into the environment by
themselves.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from gatepost.policy.connectors.errors import unknown_key
from gatepost.settings.model import Settings
from gatepost.settings.problem import SettingsProblem
from gatepost.settings.section import Section, hints, section_in
from gatepost.texts import own

_PREFIX = "GATEPOST_"
CONFIG_VARIABLE = "GATEPOST_CONFIG"


class Overrides(msgspec.Struct):
    """The settings in the environment.

    values: by section, a table of keys or a whole list. names: the variable behind each path. problems: what is wrong.
    """

    values: dict[str, Any] = msgspec.field(default_factory=dict)
    names: dict[str, str] = msgspec.field(default_factory=dict)
    problems: list[SettingsProblem] = msgspec.field(default_factory=list)

    def wrong(self, name: str, message: str) -> None:
        """Add a problem of a variable."""
        self.problems.append(SettingsProblem(name, message))

    def over(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A document with the values laid over it: key by key in a table, a list as a whole.

        What should be a table and is none stays as it is, to be reported.
        """
        merged = dict(document)
        for section, value in self.values.items():
            below = merged.get(section, {})
            if not isinstance(value, dict):
                merged[section] = value
            elif isinstance(below, dict):
                merged[section] = {**below, **value}
        return merged


def overrides(environment: Mapping[str, str]) -> Overrides:
    """Read the settings in the environment."""
    result = Overrides()
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name != CONFIG_VARIABLE:
            _take(name, environment[name], result)
    return result


def _take(name: str, text: str, result: Overrides) -> None:
    sections = Settings.settings
    section, nested, key = name.removeprefix(_PREFIX).lower().partition("__")
    is_list = section in sections and sections[section].alias is not None
    if not nested:
        if is_list:
            _set(result, name, (section, ""), _parsed(text))
        elif (meant := _single_underscore(section)) is not None:
            result.wrong(name, f"two underscores stand between section and key: write {meant}")
    elif is_list:
        whole = f"{_PREFIX}{section.upper()}"
        result.wrong(name, f"a list can only be given as a whole: write {whole} with JSON tables")
    elif section not in sections:
        result.wrong(name, f"section {section!r}: {own(unknown_key(section, sections))}")
    else:
        kind = _section(section)
        if key in kind.settings:
            _set(result, name, (section, key), _value(kind, key, text))
        else:
            result.wrong(name, f"key {key!r}: {own(unknown_key(key, kind.settings))}")


def _set(result: Overrides, name: str, path: tuple[str, str], value: Any) -> None:
    section, key = path
    if key:
        result.values.setdefault(section, {})[key] = value
    else:
        result.values[section] = value
    result.names[f"{section}.{key}" if key else section] = name


def _single_underscore(rest: str) -> str | None:
    """The name that GATEPOST_SERVER_HOSTNAME should have had, None if it is like none of ours."""
    for section in Settings.settings:
        key = rest.removeprefix(f"{section}_")
        if key != rest and key in _section(section).settings:
            return f"{_PREFIX}{section.upper()}__{key.upper()}"
    return None


def _section(key: str) -> type[Section]:
    kind = section_in(hints(Settings)[key])
    assert kind is not None  # noqa: S101 - settings are sections
    return kind


def _value(section: type[Section], key: str, text: str) -> Any:
    """Text stays text where the key takes text; elsewhere it is read as JSON or TOML writes other values."""
    annotation = hints(section)[key]
    kind = getattr(annotation, "__origin__", annotation)
    return text if isinstance(kind, type) and issubclass(kind, str) else _parsed(text)


def _parsed(text: str) -> Any:
    """The value that the text is in JSON or TOML; else the text, which the field may understand ("50MB")."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if len(document) == 1 else text
