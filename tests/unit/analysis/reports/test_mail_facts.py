from __future__ import annotations

from gatepost.analysis.alarms.mail_flow import MailFacts, Shares
from gatepost.analysis.reports.mail_facts import MailFactFinder
from gatepost.events.delivery_problems import DowngradedDestination, FailingPartner
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, applied, detail
from gatepost.settings.store_url import SQLITE
from gatepost.store.figures import WORKERS_DIRECTORY, WorkerFigures, write_figures
from gatepost.store.queue_admin import CANNOT_BE_READ
from gatepost.store.session_counts import SESSIONS
from gatepost.store.sqlite.administration import Administration
from gatepost.store.sqlite.schema import QUEUE_FILE, StoreSettings, make_queue_tables, open_database
from gatepost.store.sqlite.trace_files import day_of
from gatepost.store.storage import Storage

NOW = 1_800_000_000.0
DAY = 86400.0
POLICY = applied(PolicyType.NONE, "b.example")
FAILING = FailingPartner("o", "n", "d", "encrypted", 1.0, 2.0, 3, "certificate-expired")
DROPPED = DowngradedDestination("o", "n", "d", "was", "now", 1.0)


def write(data, at, passed, **failed):
    day = day_of(at)
    counts = [Count(day, "b.example", POLICY, None, passed)] if passed else []
    for result, sessions in failed.items():
        counts.append(Count(day, "b.example", POLICY, detail(ResultType(result.replace("_", "-"))), sessions))
    Storage(SQLITE, data).session_counts().write(day, counts)


def finder_of(data):
    return MailFactFinder(
        data, Storage(SQLITE, data).session_counts(), lambda: Administration(data / "queue", lambda _: None)
    )


def test_nothing_is_known_of_a_new_gateway(tmp_path):
    assert finder_of(tmp_path).find(NOW) == MailFacts()


def test_what_workers_saw_and_how_sessions_went(tmp_path):
    write_figures(tmp_path / WORKERS_DIRECTORY, WorkerFigures(0, failing=(FAILING,)))
    write_figures(tmp_path / WORKERS_DIRECTORY, WorkerFigures(1, dropped=(DROPPED,)))
    write(tmp_path, NOW - 9 * DAY, 1000, certificate_expired=1000)
    write(tmp_path, NOW - 7 * DAY, 40, certificate_expired=1)
    write(tmp_path, NOW - DAY, 60)
    write(tmp_path, NOW, 10, certificate_expired=3, starttls_not_supported=7)
    finder = finder_of(tmp_path)
    found = finder.find(NOW)
    assert (found.failing, found.dropped) == ((FAILING,), (DROPPED,))
    assert found.tls == {"b.example": Shares(10, 20, 1, 101, "starttls-not-supported")}
    write(tmp_path, NOW, 5)
    assert finder.find(NOW).tls == {"b.example": Shares(10, 25, 1, 101, "starttls-not-supported")}


def test_what_cannot_be_read_is_not_known(tmp_path, caplog):
    (tmp_path / "queue" / "0").mkdir(parents=True)
    (tmp_path / "queue" / "0" / QUEUE_FILE).write_bytes(b"x" * 4096)
    (tmp_path / SESSIONS.file).write_bytes(b"x" * 4096)
    found = finder_of(tmp_path).find(NOW)
    assert (found.oldest, found.tls, found.unreadable) == (None, None, None)
    assert "the age of the queue is not known" in caplog.text
    assert "how TLS sessions went is not known" in caplog.text


def test_mail_that_cannot_be_read_is_counted_as_often_as_it_is_tried_and_while_there_is_some(tmp_path):
    queue = tmp_path / "queue" / "0"
    queue.mkdir(parents=True)
    connection = open_database(queue / QUEUE_FILE, StoreSettings())
    make_queue_tables(connection, queue / QUEUE_FILE)
    insert = "INSERT INTO delivery (message, id, destination, next_at, attempts, expires_at, last_error, recipients)"
    row = f"{insert} VALUES (?, 1, 'o/d', ?, 0, 0, ?, 'x')"
    connection.execute(row, (6, 9.0, "451 4.4.1 later"))
    finder = finder_of(tmp_path)
    assert finder.find(NOW).unreadable == (0, 0)
    connection.execute(row, (8, 9.0, CANNOT_BE_READ))
    connection.execute(row, (7, 9.0, CANNOT_BE_READ))
    connection.execute(row, (5, 0.0, CANNOT_BE_READ))  # one that is tried just now
    assert finder.find(NOW + 899).unreadable == (0, 0)
    assert finder.find(NOW + 900).unreadable == (2, 7)
    connection.execute("UPDATE delivery SET held = 1 WHERE message = 7")
    assert finder.find(NOW + 900).unreadable == (1, 8)
    connection.execute("DELETE FROM delivery WHERE last_error = ?", (CANNOT_BE_READ,))
    assert finder.find(NOW + 901).unreadable == (0, 0)
    connection.close()
