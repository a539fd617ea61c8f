from __future__ import annotations

from gatepost.store.evidence_files import EvidenceDirectory
from gatepost.store.move_parts import HeadsPart, LinesPart, copy_part, digest_of
from gatepost.store.sqlite.move_evidence import EvidenceFiles


def nothing(_done):
    pass


def parts(path):
    log, sink = EvidenceDirectory(path), EvidenceFiles(path)
    return LinesPart(log, sink), HeadsPart(log, sink)


def test_lines_and_heads_are_copied_octet_by_octet(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    (source / "log").mkdir(parents=True)
    for day, writer, lines in (("2026-11-27", "0", 3), ("2026-11-28", "0", 1500), ("2026-11-28", "admin", 2)):
        text = b"".join(b"%d of %s\n" % (number, writer.encode()) for number in range(lines))
        (source / "log" / f"{day}.{writer}.log").write_bytes(text)
    (source / "heads.log").write_bytes(b"one\ntwo\n")
    for here, there in zip(parts(source), parts(target), strict=True):
        copy_part(here, there, nothing)
        copy_part(here, there, nothing)
        assert here.count() == there.count() > 0
        assert digest_of(here, nothing) == digest_of(there, nothing)
    for path in source.rglob("*.log"):
        assert (target / path.relative_to(source)).read_bytes() == path.read_bytes()
    for part in parts(target):
        part.clear()
        assert part.count() == 0
