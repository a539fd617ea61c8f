"""Changes of DKIM keys from afar, beside the same made at the gateway itself: what is told is to be the same."""

from __future__ import annotations

import pytest
from tests.unit.manage.rest.conftest import RESOURCES

from gatepost.analysis.checks.dkim_record import RecordSight, Seen
from gatepost.manage.remote import dkim_changes as remote
from gatepost.manage.use_cases import dkim as dkim_here
from gatepost.manage.use_cases import dkim_changes as here
from gatepost.manage.use_cases.change import Wish, outcome_record
from gatepost.manage.use_cases.dkim_changes import NewKey, Rotation
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.dkim_keys import made_key
from gatepost.policy.connectors.values import DkimAlgorithm, DkimService

from .conftest import OWNER

ED = DkimAlgorithm.ED25519_SHA256
WISH = Wish("ann", "by REST")
DRY = Wish("ann", "by REST", dry_run=True)


@pytest.fixture
def gateway(keyed):
    return keyed


@pytest.fixture
def own(there):
    """The gateway itself."""
    return there.api.gateway


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """What the DNS is found to say of every key: nothing, until a test says otherwise."""
    found = [RecordSight(Seen.MISSING, "nothing")]

    async def sight(*_):
        return found[0]

    monkeypatch.setattr(dkim_here, "seen_record", sight)
    return found


def new(domain="contoso.example", **more):
    return NewKey(domain, **{"algorithm": ED, "selector": "a"} | more)


def refusal(ask, *given):
    with pytest.raises(Refusal) as refused:
        ask(*given)
    return refused.value


def keys(own):
    return {row.key.name: row.key.state for row in dkim_here.dkim_keys(own, OWNER)}


# a new key

ALIKE = [
    {},
    {"domain": "CONTOSO.example"},
    {"domain": "Mail.Contoso.Example"},
    {"domain": "bücher.contoso.example"},
    {"domain": "contoso.example", "organization": "contoso"},
    {"selector": "UPPER"},
    {"selector": "x.y"},
    {"service_type": list(DkimService)[-1]},
    {"current": True},
]


@pytest.mark.parametrize("more", ALIKE)
def test_a_key_is_made_alike(there, own, more):
    pem = made_key(ED)
    tried = here.add_key(own, OWNER, new(**more, pem=pem), DRY)
    done = remote.add_key(there, new(**more, pem=pem), WISH)
    assert (done.name, done.zone) == (tried.name, tried.zone)
    assert [change.path for change in done.outcome.changes] == [change.path for change in tried.outcome.changes]
    assert done.outcome.version == own.directory().version
    assert not done.outcome.dry_run
    assert list(keys(own)) == [done.name]


REFUSED = [
    {"domain": ""},
    {"domain": "no domain"},
    {"domain": "a..b"},
    {"domain": "x" * 300},
    {"domain": "other.example"},
    {"domain": "contoso.example", "organization": "nobody"},
    {"domain": "fabrikam.example", "organization": "contoso"},
    {"selector": "no selector"},
    {"selector": "-"},
    {"selector": "s" * 64},
]


@pytest.mark.parametrize("more", REFUSED)
def test_what_is_wrong_is_refused_and_nothing_is_made(there, own, more):
    expected = refusal(here.add_key, own, OWNER, new(**more), WISH)
    found = refusal(remote.add_key, there, new(**more), WISH)
    assert found.kind is expected.kind
    assert [error.message for error in found.errors] == [error.message for error in expected.errors]
    assert keys(own) == {}


def test_a_name_that_is_taken(there, own):
    remote.add_key(there, new(), WISH)
    assert refusal(remote.add_key, there, new(), WISH).kind is Kind.BLOCKED
    assert refusal(here.add_key, own, OWNER, new(), WISH).kind is Kind.BLOCKED
    assert len(keys(own)) == 1


@pytest.mark.parametrize(
    "pem", [b"no key", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_key_that_is_none(there, own, pem):
    expected = refusal(here.add_key, own, OWNER, new(pem=pem, source="key"), WISH)
    found = refusal(remote.add_key, there, new(pem=pem, source="k.pem"), WISH)
    assert found.kind is expected.kind is Kind.INPUT
    assert "AAAA" not in found.text
    assert keys(own) == {}


def test_a_dry_run_makes_nothing(there, own):
    done = remote.add_key(there, new(), DRY)
    assert done.outcome.dry_run
    assert outcome_record(done.outcome)["changes"]
    assert keys(own) == {}


def test_only_a_dry_run_looks_at_mail_of_before(there):
    """A call that changes something takes no such time, and would refuse it."""
    remote.add_key(there, new(), Wish("ann", since=1.0))
    assert "since=1" not in there.calls[-1]
    remote.add_key(there, new(selector="b"), Wish("ann", dry_run=True, since=1.0))
    assert "since=1970-01-01T00%3A00%3A01" in there.calls[-1]
    assert refusal(remote.add_key, there, new(selector="b"), Wish("ann", dry_run=True, since=1e18)).kind is Kind.INPUT


def test_a_key_that_stays_in_its_file_is_not_sent(there, own):
    before = len(there.calls)
    found = refusal(remote.add_key, there, new(pem=made_key(ED), key_file="/etc/k.pem"), WISH)
    assert (found.kind, "one of the gateway's own machine" in found.text) == (Kind.INPUT, True)
    assert len(there.calls) == before


def test_who_and_why_are_kept(there, own):
    remote.add_key(there, new(), Wish("somebody else", "as agreed <b>"))
    with own.config() as store:
        newest = store.history(limit=1)[0]
    assert (newest.author, newest.note) == ("ann", "as agreed <b>"), "whoever has the token, not who they say they are"


# a rotation


@pytest.fixture
def next_(there):
    return remote.add_key(there, new(), WISH).name


ROTATIONS = [
    Rotation("contoso.example"),
    Rotation("CONTOSO.example"),
    Rotation("contoso.example", "A"),
    Rotation("contoso.example", organization="contoso"),
]


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_record_that_is_seen_lets_a_key_sign(there, own, seen, next_, rotation):
    seen[0] = RecordSight(Seen.PUBLISHED, "it is there")
    tried = here.rotate_keys(own, OWNER, rotation, DRY)
    done = remote.rotate_keys(there, rotation, WISH)
    assert [tuple(one) for one in done.changes] == [tuple(one) for one in tried.changes]
    assert keys(own)[next_] == "current"


@pytest.mark.parametrize("sight", [Seen.MISSING, Seen.UNKNOWN])
def test_a_record_that_is_not_seen_refuses_alike(there, own, seen, next_, sight):
    seen[0] = RecordSight(sight, "nothing is there")
    rotation = Rotation("contoso.example")
    expected = refusal(here.rotate_keys, own, OWNER, rotation, WISH)
    found = refusal(remote.rotate_keys, there, rotation, WISH)
    assert (found.kind, found.errors, found.options) == (expected.kind, expected.errors, expected.options)
    assert found.text.endswith(expected.text)
    assert expected.options == ("force",)
    assert keys(own)[next_] == "next"


def test_a_reason_overrides_it_and_is_kept(there, own, next_):
    remote.rotate_keys(there, Rotation("contoso.example", force="at night"), Wish("ann", "now"))
    assert keys(own)[next_] == "current"
    with own.config() as store:
        assert store.history(limit=1)[0].note == "now; forced: at night"


NONE = [
    Rotation("contoso.example", "nosuch"),
    Rotation("other.example"),
    Rotation("no domain"),
    Rotation(""),
    Rotation("contoso.example", organization="nobody"),
    Rotation("contoso.example", organization="fabrikam"),
]


@pytest.mark.parametrize("rotation", NONE)
def test_where_there_is_no_key_to_sign_it_is_refused(there, own, next_, rotation):
    refusal(here.rotate_keys, own, OWNER, rotation, WISH)
    found = refusal(remote.rotate_keys, there, rotation, WISH)
    assert found.kind in {Kind.INPUT, Kind.MISSING}
    assert found.text
    assert keys(own)[next_] == "next"


def test_of_several_keys_one_is_named(there, own, next_):
    remote.add_key(there, new(selector="b"), WISH)
    rotation = Rotation("contoso.example", force="x")
    expected = refusal(here.rotate_keys, own, OWNER, rotation, WISH)
    found = refusal(remote.rotate_keys, there, rotation, WISH)
    assert (found.kind, found.options) == (expected.kind, expected.options) == (Kind.INPUT, ("selector",))
    remote.rotate_keys(there, Rotation("contoso.example", "b", force="x"), WISH)
    assert keys(own)["b._domainkey.contoso.example"] == "current"


def test_keys_of_a_domain_below_belong_to_the_organization_that_has_them(there, own):
    """It accepts contoso.example; the keys sign for a name below it, which nobody accepts by itself."""
    name = remote.add_key(there, new("news.contoso.example"), WISH).name
    remote.rotate_keys(there, Rotation("news.contoso.example", force="x"), WISH)
    assert keys(own)[name] == "current"


def test_somebody_who_was_quicker_is_no_conflict(there, own):
    """As at the gateway itself: the change is made again on what is there then."""

    def quick():
        there.before = lambda: None
        with own.config() as store:
            store.apply({"organization": {"contoso": RESOURCES["contoso"] | {"display_name": "Quick"}}}, author="bob")

    there.before = quick
    name = remote.add_key(there, new(), WISH).name
    assert name in keys(own)
