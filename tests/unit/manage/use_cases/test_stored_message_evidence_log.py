from __future__ import annotations

import pytest
import tomlkit

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.stored_message import evidence_log
from gatepost.settings.loader import load
from gatepost.store.evidence_files import ADMIN_WRITER, evidence_directory

EVENT = TraceEvent(1_795_528_800.0, "DROP", "000000000000001a", "contoso", "incoming", "", "", "a@b.example")


@pytest.mark.parametrize(
    ("enabled", "events", "kept"), [(True, [EVENT], True), (True, [], False), (False, [EVENT], False)]
)
def test_what_is_done_is_kept_where_a_log_is_kept(tmp_path, enabled, events, kept):
    file = tmp_path / "gatepost.toml"
    server = {"hostname": "mx.gate.example", "data_dir": "data"}
    file.write_text(tomlkit.dumps({"server": server, "evidence": {"enabled": enabled}}), encoding="utf-8")
    settings = load(str(file), {})
    evidence_log(settings)(events)
    directory = evidence_directory(tmp_path / "data")
    found = [path for path in directory.rglob("*") if path.is_file() and ADMIN_WRITER in path.name]
    assert bool(found) is kept
