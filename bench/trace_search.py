"""What the message trace costs to write and to search: a million rows over thirty days, as two workers write them.

    .venv/bin/python bench/trace_search.py [--rows N] [--days N] [--keep FOLDER] [--check]

Prints the CPU time a row for writing and indexing, the size, and the wall time of the first page (100 rows) of each
kind of search and its CPU time, the best of five; what is looked for is rare, common, or not there at all.
--check: instead of searching, compare the sums of a TLS report with sums that SQLite makes of the same files.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import apsw

from gatepost.analysis.reports.tls import Direction, Protection, TlsCounter, Wanted
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import TraceFilter
from gatepost.store.sqlite.message_trace import SqliteTrace, search_trace
from gatepost.store.sqlite.trace import TraceWriter, write_events
from gatepost.store.sqlite.trace_files import day_of, trace_files
from gatepost.store.text_pattern import TextPattern
from gatepost.store.trace import TEXT_COLUMNS, tally_days

_DAY = 86_400.0


def _parts(*words: str) -> tuple[TextPattern, ...]:
    return tuple(TextPattern(TEXT_COLUMNS, word) for word in words)


_SEARCHES = {
    "nothing (the newest)": {},
    "recipient, rare": {"recipient": "p77@d4000.example"},
    "recipient, not there": {"recipient": "nobody@nowhere.example"},
    "recipient @domain, common": {"recipient": "@d3.example"},
    "protection, common": {"protection": "encrypted"},
    "protection, rare": {"protection": "cleartext"},
    "protection, demanded by DANE": {"protection": "dane"},
    "protection, demanded by a connector": {"protection": "verified"},
    "protection, of a day and a domain": {
        "protection": "verified",
        "recipient": "@d3.example",
        "since": 1.0,
        "event": "SEND",
    },
    "recipient @domain, rare": {"recipient": "@d4990.example"},
    "sender": {"sender": "user17@contoso.example"},
    "sender @domain, all rows": {"sender": "@contoso.example"},
    "domain, rare": {"domain": "d4990.example"},
    "domain, not there": {"domain": "nowhere.example"},
    "Message-ID": {"message_id": "<4242@contoso.example>"},
    "session": {"session": "000000000000109a"},
    "queue id": {"message": "0000000000001092"},
    "connector, rare": {"connector": "rare"},
    "achieved none, rare": {"achieved": "none"},
    "achieved authenticated": {"achieved": "authenticated"},
    "result type, rare": {"result_type": "certificate-expired"},
    "TLS 1.2": {"tls_version": "TLSv1.2"},
    "group, rare": {"tls_group": "secp521r1"},
    "group, not there": {"tls_group": "ffdhe2048"},
    "event EXPIRE, rare": {"event": "EXPIRE"},
    "part of a subject, rare": {"patterns": _parts("invoice 4242-")},
    "part of a subject, common": {"patterns": _parts("meeting")},
    "part of a subject, not there": {"patterns": _parts("zzyzx")},
    "part of a name, rare": {"patterns": _parts("p77@d4000")},
    "two words, rare together": {"patterns": _parts("user17@", "d4990")},
    "two words, common, not together": {"patterns": _parts("meeting", "invoice")},
    "part, not there, of an organization": {"patterns": _parts("zzyzx"), "organizations": frozenset({"contoso"})},
    "part of others' rows, of a tenant": {"patterns": _parts("meeting"), "organizations": frozenset({"tenant"})},
    "wildcards, not there": {"patterns": (TextPattern(("recipient",), "p77*@nowhere.example", whole=True),)},
    "a letter beyond ASCII, rare": {"patterns": _parts("Ärende 77-")},
    "TLS 1.3 and recipient": {"tls_version": "TLSv1.3", "recipient": "@d4990.example"},
}


def rows(count: int, days: int, now: float) -> Iterator[TraceEvent]:
    """Events oldest first, with details as long as they are in life."""
    rnd = random.Random(1)  # noqa: S311 - the same rows each time
    begin = now - days * _DAY
    for number in range(count):
        yield _row(number, begin + number * days * _DAY / count, rnd)


def _subject(number: int, rnd: random.Random) -> str:
    kind = rnd.choice(("Re: meeting on", "invoice", "Your order", "Fwd: minutes of", "ärende"))
    return f"{kind} {number}-{rnd.randrange(10**9)} {rnd.choice(('for Ann', 'of last week', 'urgent'))}"


def _row(number: int, at: float, rnd: random.Random) -> TraceEvent:
    message = number // 2 * 2  # each is received, and sent on
    envelope = random.Random(message)  # noqa: S311 - the same of both rows
    domain = f"d{min(int(envelope.expovariate(1 / 300)), 4999)}.example"
    draw = rnd.random()
    clear, old = draw < 0.00005, 0.9 < draw < 0.93
    group = "" if clear else "secp521r1" if 0.95 < draw < 0.95005 else "X25519MLKEM768"
    version = "" if clear else "TLSv1.2" if old else "TLSv1.3"
    certificate = {
        "subject": f"CN=mx.{domain}", "issuer": "CN=R11,O=Let's Encrypt,C=US", "names": [f"mx.{domain}"],
        "sha256": hashlib.sha256(domain.encode()).hexdigest(), "sha1": f"{number // 200_000:040x}",
        "key": "ECDSA P-256",
    }  # fmt: skip
    tls = {
        "version": version, "suite": "TLS_AES_256_GCM_SHA384", "group": group, "resumed": False,
        "signature": "ecdsa_secp256r1_sha256", "chain": "trusted", "certificate": certificate,
    }  # fmt: skip
    return TraceEvent(
        at,
        "EXPIRE" if 0.5 < draw < 0.50005 else ("RECEIVE", "SEND")[number % 2],
        f"{message:016x}",
        "contoso",
        "originating",
        f"{message + 8:016x}",
        f"user{envelope.randrange(3000)}@contoso.example",
        f"p{envelope.randrange(1000)}@{domain}",
        message_id=f"<{message}@contoso.example>",
        subject=_subject(message, envelope),
        size=4000,
        peer_host=f"mx.{domain}",
        peer_address="192.0.2.1:25",
        connector="rare" if 0.6 < draw < 0.60005 else "",
        requirement="opportunistic",
        achieved="none/none" if clear else "dnssec/authenticated" if old else "none/encrypted",
        tls_version=version,
        tls_group=group,
        tls={} if clear else tls,
        reply="250 2.0.0 OK queued as 4XyZ1234",
        result_type="certificate-expired" if 0.7 < draw < 0.70005 else "",
        detail={
            "configuration": 7, "requirement_sources": ["organization contoso"], "attempt": 1, "passed_over": [],
            "reasons": ["no connector is for the domain, so mail goes to its MX hosts"],
        },
    )  # fmt: skip


def fill(folder: Path, count: int, days: int) -> None:
    """Write the rows as two workers would, and say what it cost. Today's files stay hot."""
    events, begun = rows(count, days, time.time()), time.process_time()
    making = 0.0
    while True:
        before = time.process_time()
        batch = list(itertools.islice(events, 2000))
        making += time.process_time() - before
        if not batch:
            break
        for writer in ("0", "1"):
            write_events(folder, writer, batch[int(writer) :: 2])
    written = time.process_time() - begun - making
    begun = time.process_time()
    for writer in ("0", "1"):
        TraceWriter(folder, writer).close()  # seals what is over
    sealed = time.process_time() - begun
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{count} rows, {days} days, {len(list(folder.glob('*.db')))} files, {size / count:.0f} octets a row")
    print(f"written {written / count * 1e6:.1f} us a row, indexed {sealed / count * 1e6:.1f} us a row (CPU)")


def measure(folder: Path) -> None:
    """The first page of each search."""
    for name, wanted in _SEARCHES.items():
        times = []
        for _ in range(5):
            begun, cpu = time.perf_counter(), time.process_time()
            found = search_trace(folder, TraceFilter(**wanted))
            times.append(((time.perf_counter() - begun) * 1000, (time.process_time() - cpu) * 1000))
        best, cpu = map(min, zip(*times, strict=True))
        print(f"{name:28} {len(found):4} rows  {best:7.1f} ms  {cpu:7.1f} ms CPU")


def check(folder: Path) -> None:
    """Fail unless a report's totals are the trace's."""
    days = sorted({file.day for file in trace_files(folder)})
    for round_ in ("counted", "kept"):
        begun = time.process_time()
        counter = TlsCounter(Wanted())
        for day, kinds in tally_days(SqliteTrace(folder), days[0], days[-1]):
            counter.add(day, kinds)
        report = counter.report(days[0], days[-1])
        print(f"report, {round_}: {time.process_time() - begun:.2f} s CPU")
        for direction, event in ((Direction.INBOUND, "RECEIVE"), (Direction.OUTBOUND, "SEND")):
            hops = report.hops[direction]
            found = {
                "carried": hops.carried,
                "clear": hops.protections[Protection.CLEARTEXT],
                "TLSv1.2": hops.versions["TLSv1.2"],
                "secp521r1": hops.groups["secp521r1"],
                "by day": sum(ways[direction].total() for ways in report.days.values()),
                "by partner": sum(one.hops.carried for one in report.partners if one.direction is direction),
                "by connector": sum(one.hops.carried for one in report.connectors if one.direction is direction),
            }
            expected = _sums(folder, event)
            print(f"{direction}: {found}")
            if found != expected:
                raise SystemExit(f"the report says {found}, the trace {expected}")


def _sums(folder: Path, event: str) -> dict[str, int]:
    whole = (
        "SELECT count(*), sum(tls_version = ''), sum(tls_version = 'TLSv1.2'), sum(tls_group = 'secp521r1') FROM trace"
    )
    sums = [0, 0, 0, 0]
    for file in trace_files(folder):
        with contextlib.closing(
            apsw.Connection(str(folder / file.name), flags=apsw.SQLITE_OPEN_READONLY)
        ) as connection:
            row = connection.execute(f"{whole} WHERE event = ?", (event,)).fetchone()
        sums = [total + (one or 0) for total, one in zip(sums, row, strict=True)]
    carried, clear, old, rare = sums
    named = {"carried": carried, "clear": clear, "TLSv1.2": old, "secp521r1": rare}
    return named | dict.fromkeys(("by day", "by partner", "by connector"), carried)


def main() -> None:
    """Fill a folder, or take one that is filled, and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="trace-"))
    try:
        if not any(folder.glob(f"{day_of(time.time())}*.db")):
            fill(folder, given.rows, given.days)
        (check if given.check else measure)(folder)
    finally:
        if given.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
