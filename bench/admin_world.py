"""A gateway's files as they are after long and busy use, for `bench/admin_pages.py` and the test of page sizes.

Written by what writes them in life where that is quick enough, and else straight into the same tables: the history of
100,000 versions would take hours by 100,000 changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from trace_search import fill as fill_trace

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.model.queue_id import IdSource, format_id
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.access.records import Actor
from gatepost.manage.access.schema import ACCESS
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.paging import cursor
from gatepost.manage.use_cases.resources import apply_document
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.entry import Origin, Purpose, State, document_of
from gatepost.pki.certificates.inventory import entry_from
from gatepost.protocols.tlsrpt.received import ReceivedPolicy, ReceivedReport
from gatepost.settings.loader import load
from gatepost.settings.store_url import SQLITE
from gatepost.store.changes import ConfigStore
from gatepost.store.sent_reports import RECEIVED, StoredReport
from gatepost.store.sqlite.rows import delivery_row, message_row
from gatepost.store.sqlite.schema import QUEUE_FILE, StoreSettings, make_directory, make_queue_tables, open_database
from gatepost.store.sqlite.trace import write_events
from gatepost.store.storage import Storage

OWNER = Principal("owner", ROLES[Role.OWNER])
_DAY = 86_400.0
_AT_ONCE = 10_000  # rows
_COMMENT = 200
_OFF = 200  # this outbound connector is disabled, so that its report decides the mail of a week again


@dataclass(frozen=True)
class Sizes:
    """How much there is of each. rows: of the trace over so many days; late: more of the last two hours.

    more: text behind what people and peers write, so that pages are as long as they can be.
    """

    connectors: int = 10_000
    rows: int = 1_000_000
    late: int = 100_000
    deliveries: int = 100_000
    certificates: int = 1000
    events: int = 100_000
    versions: int = 100_000
    users: int = 1000
    reports: int = 3000
    days: int = 30
    more: str = ""


@dataclass(frozen=True)
class World:
    """names: what the addresses of pages are filled with. cookie: of an owner's session, csrf: for its forms."""

    gateway: Gateway
    accounts: Accounts
    names: dict[str, str]
    cookie: str
    csrf: str


def world(folder: Path, sizes: Sizes, say: Callable[[str], None] = print) -> World:
    """The files in a folder, made if they are not there, and a session with them."""
    folder.mkdir(exist_ok=True)
    file, known = folder / "gatepost.toml", folder / "names.json"
    if not known.exists():
        file.write_text(_settings(folder), encoding="utf-8")
    gateway = Gateway(load(str(file), {}))
    accounts = Accounts(Storage(SQLITE, gateway.data))
    if not known.exists():
        names = {"sizes": json.dumps(asdict(sizes))}
        for part in (_resources, _trace, _queue, _certificates, _accounts, _history, _reports, _validations):
            begun = time.perf_counter()
            names |= part(gateway, accounts, sizes)
            say(f"{part.__name__.strip('_')}: {time.perf_counter() - begun:.1f} s")
        known.write_text(json.dumps(names), encoding="utf-8")
    user = accounts.user("owner")
    cookie = accounts.start_session(user, "127.0.0.1", "bench") if user else ""
    session = accounts.session(cookie)
    csrf = session.csrf if session else ""
    return World(gateway, accounts, json.loads(known.read_text(encoding="utf-8")), cookie, csrf)


def _settings(folder: Path) -> str:
    return (
        f'[server]\nhostname = "mx.gate.example"\ndata_dir = "{folder}/data"\n'
        f'user = "{"" if os.geteuid() else "root"}"\n'
        '[dns]\nnameservers = ["127.0.0.1:1"]\n[[listener]]\naddress = "127.0.0.1:1025"\nrole = "mx"\n'
    )


def _resources(gateway: Gateway, _: Accounts, sizes: Sizes) -> dict[str, str]:
    """Contoso with so many connectors, half of them inbound, as many mailboxes, and some of all else."""
    half = sizes.connectors // 2
    contoso = {
        "accepted_domain": [{"name": f"own{number}.example"} for number in range(50)],
        "mailbox": [{"address": f"user{number}@own{number % 50}.example"} for number in range(sizes.connectors)],
        "inbound_connector": [
            {
                "name": f"in-{number}",
                "comment": f"With {number}{sizes.more}"[:_COMMENT],
                "sender_domains": [f"d{number}.example"],
                "restrict_domains_to_certificate": True,
                "tls_sender_certificate_name": f"mail.d{number}.example",
            }
            for number in range(half)
        ],
        "outbound_connector": [
            {
                "name": f"out-{number}",
                "comment": f"To {number}{sizes.more}"[:_COMMENT],
                "recipient_domains": [f"d{number}.example"],
                "tls_settings": "domain-validation",
                "tls_domain": f"mx.d{number}.example",
            }
            | ({"mode": "rehearse"} if number == half + 1 else {})
            | ({"enabled": False} if number == half + _OFF else {})
            for number in range(half, sizes.connectors)
        ],
        "mail_flow_rule": [
            {"name": f"rule-{number}", "header_name": f"X-Mark-{number}", "route_via_connector": f"out-{half + number}"}
            for number in range(min(100, half))
        ],
    }
    tenants = {f"tenant{number}": {"accepted_domain": [{"name": f"tenant{number}.example"}]} for number in range(200)}
    outcome = apply_document(gateway, OWNER, {"organization": {"contoso": contoso, **tenants}}, ChangeOptions("owner"))
    return {
        "inbound": f"in-{half // 2}",
        "outbound": f"out-{half + half // 2}",
        "rehearsed": f"out-{half + 1}",
        "off": f"out-{half + _OFF}",
        "applied": str(outcome.version),
        "domain": "own7.example",
        "mailbox": f"user{sizes.connectors - 3}@own{(sizes.connectors - 3) % 50}.example",
        "rule": "rule-7",
        "deep": str(max(1, sizes.connectors // 60)),
    }


def _trace(gateway: Gateway, _: Accounts, sizes: Sizes) -> dict[str, str]:
    """A month, the last hours of each connector, and the mail that came in by one of them."""
    folder = gateway.data / "trace"
    make_directory(folder)
    fill_trace(folder, sizes.rows, sizes.days)
    for events in _batches(_sent(sizes)):
        write_events(folder, "0", events)
    number = min(0x1092, sizes.rows // 2)
    return {"message": f"{number:016x}", "session": f"{number + 8:016x}", "late": f"{5:016x}"}


def _sent(sizes: Sizes) -> Iterator[TraceEvent]:
    """Sent messages of the last two hours, by one connector after the other."""
    now, half = time.time(), sizes.connectors // 2
    for number in range(sizes.late):
        yield TraceEvent(
            at=now - 7200 + number * 7200 / sizes.late,
            event="SEND",
            message=f"{number:016x}",
            organization="contoso",
            direction="originating",
            session=f"{number:016x}",
            sender="ann@own1.example",
            recipient=f"bob@d{half + number % half}.example",
            peer_host=f"mx.d{half + number % half}.example",
            connector=f"out-{half + number % half}",
            requirement="authenticated",
            achieved="none/authenticated",
            subject=f"Offer{sizes.more}",
            reply=f"250 2.0.0 OK{sizes.more}",
            tls={"version": "TLSv1.3", "chain": "trusted"},
            detail={"configuration": 1},
        )


def _batches[T](rows: Iterator[T]) -> Iterator[list[T]]:
    batch: list[T] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _queue(gateway: Gateway, _: Accounts, sizes: Sizes) -> dict[str, str]:
    """Deliveries in two shards, to two thousand destinations: most deferred, some held, one message with many."""
    most = min(500, sizes.deliveries // 4)
    for shard in range(2):
        folder = gateway.data / "queue" / str(shard)
        make_directory(folder)
        new_id = IdSource(shard, clock=time.time)
        with contextlib.closing(open_database(folder / QUEUE_FILE, StoreSettings())) as connection:
            make_queue_tables(connection, folder / QUEUE_FILE)
            left = sizes.deliveries // 2 - most
            with connection:
                large = _queued(connection, new_id, most, left, sizes.more)
                for number in range(left):
                    _queued(connection, new_id, 1, number, sizes.more)
    return {"queued": format_id(large)}


def _queued(connection: apsw.Connection, new_id: IdSource, deliveries: int, number: int, more: str) -> int:
    """One message."""
    now = time.time()
    message = Message(
        new_id(), "contoso", now - 3600, f"user{number % 977}@own3.example", size=40_000,
        subject=f"Offer {number}{more}", message_id=f"<{number}@own3.example>", direction="originating",
    )  # fmt: skip
    connection.execute("INSERT INTO message (id, size, big, facts) VALUES (?, ?, ?, ?)", message_row(message, None))
    for place in range(deliveries):
        domain = f"d{(number + place) % 2000}.example"
        delivery = Delivery(
            new_id(), message, f"contoso/{domain}", [Recipient(f"p{number}@{domain}")], attempts=3,
            next_at=now + 600, expires_at=now + _DAY, last_error=f"451 4.7.1 come back later{more}",
        )  # fmt: skip
        connection.execute(
            "INSERT INTO delivery (message, id, destination, next_at, attempts, expires_at, last_error, recipients,"
            " held, quarantine) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*delivery_row(delivery)[:8], number % 10 == 0, ""),
        )
    return message.id


def _certificates(gateway: Gateway, _: Accounts, sizes: Sizes) -> dict[str, str]:
    """Server certificates of all states, and as many clients'; a tenth of each is current."""
    now = time.time()
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    states = (State.CURRENT, *[State.RETIRED] * 7, State.DEPRECATED, State.NEXT)
    documents: dict[str, Any] = {}
    content: dict[str, bytes | None] = {}
    found: dict[str, str] = {}
    for number in range(sizes.certificates):
        state, client = states[number % 10], number % 2 == 1
        name = f"mx{number // 10}.gate.example"
        chain = _signed(key, name, number)
        entry = entry_from(ServerIdentity(chain, pem), now=now - number * 3600)
        document = document_of(entry) | {"state": str(state), "origin": str(Origin.UPLOAD), "label": f"c{number}"}
        if client:
            document |= {"purpose": str(Purpose.CLIENT), "organization": "contoso"}
        if state is not State.NEXT:
            document |= {"current_from": now - 9 * _DAY}
        documents[entry.id], content[f"certificate/{entry.id}/chain"] = document, chain
        found[f"certificate-{state}"] = entry.id
    with contextlib.closing(ConfigStore(gateway.data / "config.db")) as store:
        store.apply({"certificate": documents}, author="owner", note="bench", content=content)
    return {
        "certificate": found[f"certificate-{State.CURRENT}"],
        "next": found.get(f"certificate-{State.NEXT}", found[f"certificate-{State.CURRENT}"]),
    }


def _signed(key: ec.EllipticCurvePrivateKey, name: str, number: int) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.now(UTC) - timedelta(days=9)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), number + 1, begin, begin + timedelta(days=90 + number % 300)
    )
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _accounts(gateway: Gateway, accounts: Accounts, sizes: Sizes) -> dict[str, str]:
    """An owner with a password, so many more users, as many tokens, and the audit."""
    accounts.add_user("owner", Role.OWNER, "a long and unheard-of sentence", actor=Actor("", ""))
    now = time.time()
    with contextlib.closing(apsw.Connection(str(gateway.data / ACCESS.file))) as connection, connection:
        connection.executemany(
            "INSERT INTO user VALUES"
            " (?, 'auditor', '[\"tenant7\"]', 1, ?, ?, '192.0.2.1', ?, '', 'https://idp.example', ?, '{}')",
            [(f"user{number}", now, now, number, f"subject{number}") for number in range(sizes.users)],
        )
        connection.executemany(
            "INSERT INTO token VALUES (?, ?, 'read', '[\"tenant7\"]', ?, NULL, 'owner', 'owner', ?)",
            [(f"token{number}", number.to_bytes(32), now, now) for number in range(sizes.users)],
        )
        connection.executemany(
            "INSERT INTO audit_event (at, who, address, action, organization, subject, outcome, detail)"
            " VALUES (?, ?, '192.0.2.1', ?, ?, ?, ?, ?)",
            [_event(number, now - (sizes.events - number) * 30, sizes.more) for number in range(sizes.events)],
        )
    return {"user": "user77", "token": "token77", "event": str(sizes.events // 2)}


def _event(number: int, at: float, more: str) -> tuple[Any, ...]:
    who, refused = f"user{number % 997}", number % 50 == 0
    detail = {"before": {"role": "auditor"}, "after": {"role": "operator"}, "password": False}
    organization = f"tenant{number % 200}" if number % 3 else ""
    action = ("log-in", "queue hold", "user-set")[number % 3]
    return at, who, action, organization, f"{who}{more}", "refused" if refused else "done", json.dumps(detail)


def _history(gateway: Gateway, _: Accounts, sizes: Sizes) -> dict[str, str]:
    """So many small changes of tenants: that of a large organization holds all of it, twice."""
    now = time.time()
    with contextlib.closing(apsw.Connection(str(gateway.data / "config.db"))) as connection, connection:
        first: int = connection.execute("SELECT max(version) FROM change").get + 1
        for number in range(sizes.versions):
            name = f"tenant{number % 200}"
            document = {"accepted_domain": [{"name": f"{name}.example"}], "display_name": f"Name {number}"}
            before = json.dumps(document | {"display_name": f"Name {number - 200}"})
            connection.execute(
                "INSERT INTO change (version, at, author, note, kind, name, before, after) VALUES"
                " (?, ?, ?, ?, 'organization', ?, ?, ?)",
                (first + number, now - (sizes.versions - number) * 30, f"user{number % 997}", f"renamed{sizes.more}",
                 name, before, json.dumps(document)),
            )  # fmt: skip
    middle = first + sizes.versions // 2
    return {"version": str(middle), "before": cursor((middle, 0))}


def _reports(gateway: Gateway, _: Accounts, sizes: Sizes) -> dict[str, str]:
    """TLS reports of others, a hundred reporters a day; the first makes the file."""
    now = time.time()
    policy = ReceivedPolicy("sts", "own0.example", 1000, 0, (), (), ())
    begin = now // _DAY * _DAY
    report = ReceivedReport("Reporter", "tls@reporter.example", "r", begin, begin + _DAY - 1, (policy,), 0)
    Storage(SQLITE, gateway.data).received_reports().keep(StoredReport(now, "https 192.0.2.1", report))
    with contextlib.closing(apsw.Connection(str(gateway.data / RECEIVED.file))) as connection, connection:
        for number in range(2, sizes.reports + 2):
            day = begin - number // 100 * _DAY
            connection.execute(
                "INSERT INTO received_report SELECT ?, received, source, ?, contact, ?, ?, ?, 0 FROM received_report"
                " WHERE id = 1",
                (number, f"Reporter {number % 100}{sizes.more}", f"r{number}", day, day + _DAY - 1),
            )
            connection.execute(
                "INSERT INTO received_policy SELECT ?, place, type, ?, passed, failed, strings, mx_hosts, failures"
                " FROM received_policy"
                " WHERE report = 1",
                (number, f"own{number % 50}.example"),
            )
    return {}


def _validations(gateway: Gateway, _: Accounts, sizes: Sizes) -> dict[str, str]:
    """Every outbound connector was validated."""
    for number in range(sizes.connectors // 2, sizes.connectors):
        record = {"at": time.time(), "configuration": 1, "outcome": "passed", "verdict": "", "organization": "contoso",
                  "connector": f"out-{number}", "direction": "outbound", "tasks": []}  # fmt: skip
        CheckRecords(gateway.storage, VALIDATIONS, "contoso").keep("outbound", f"out-{number}", record)
    return {}
