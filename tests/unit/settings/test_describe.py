from __future__ import annotations

from gatepost.settings.describe import markdown
from gatepost.settings.model import Settings
from gatepost.settings.section import hints, section_in


def test_the_page_has_every_key_of_every_section() -> None:
    page = markdown()
    for section, declared in Settings.settings.items():
        assert f"## `{declared.description}`" in page
        kind = section_in(hints(Settings)[section])
        assert kind is not None
        for key, one in kind.settings.items():
            assert (f"## `{one.description}`" if section_in(hints(kind)[key]) else f"| `{key}` |") in page


def test_defaults_are_shown_as_they_would_be_written() -> None:
    page = markdown()
    assert '| `retry` | list of: duration: "30s", "15m", "24h", 1s to 24h | `["15m", "15m", "1h"]` |' in page
    assert '| `message_bytes` | size: "256KB", "50MB", bytes, 64KB to 1024GB | `"50MB"` |' in page
    assert "| `hostname` | domain | required |" in page


def test_no_cell_breaks_the_tables() -> None:
    rows = [line for line in markdown().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}
