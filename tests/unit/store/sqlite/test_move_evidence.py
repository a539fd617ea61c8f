from __future__ import annotations

from gatepost.store.evidence_files import EvidenceDirectory
from gatepost.store.sqlite.move_evidence import EvidenceFiles


def test_half_of_a_line_that_a_crash_left_does_not_count(tmp_path):
    sink = EvidenceFiles(tmp_path)
    assert (sink.stored("2026-11-28", "0"), sink.stored_heads()) == (0, 0)
    sink.append("2026-11-28", "0", 0, [b"one\n", b"two\n"])
    path = tmp_path / "log" / "2026-11-28.0.log"
    with path.open("ab") as file:
        file.write(b"thr")
    sink = EvidenceFiles(tmp_path)
    assert sink.stored("2026-11-28", "0") == 2
    sink.append("2026-11-28", "0", 2, [b"three\n"])
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert sink.stored("2026-11-28", "0") == 3
    assert path.stat().st_mode & 0o777 == 0o600
    sink.append_heads([b"head\n"])
    sink.append_heads([b"next\n"])
    assert sink.stored_heads() == 2
    sink.clear_lines()
    sink.clear_heads()
    sink.clear_heads()
    assert (sink.stored("2026-11-28", "0"), sink.stored_heads()) == (0, 0)


def test_a_key_is_kept_once(tmp_path):
    """Of a gateway that was not started since an upgrade, too: where its own keys come."""
    evidence = tmp_path / "evidence"
    (evidence / "keys").mkdir(parents=True)
    (evidence / "keys/own.pem").write_bytes(b"own")
    for pem in (b"one", b"two", b"one"):
        EvidenceFiles(evidence).add_key(pem)
    assert sorted(EvidenceDirectory(evidence).public_keys()) == [b"one", b"own", b"two"]
    assert len(list((tmp_path / "evidence-keys").iterdir())) == 3
