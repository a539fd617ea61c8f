from __future__ import annotations

from typing import Any

import pytest

from gatepost.analysis.alarms.alarm import Alarm, Kind, Memory, Severity, Trouble
from gatepost.analysis.checks.certificate_alarms import (
    ChainSeen,
    Endpoint,
    FailedRenewal,
    Observed,
    Scope,
    TlsaSeen,
    TlsaState,
    WantedName,
    judge,
    remember,
    undecided,
    watched,
)
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.protocols.tls.facts import CertificateFacts
from gatepost.times import minute_text
from gatepost.values import replace

NOW = 1_800_000_000.0
DAY = 86400.0
HOUR = 3600.0
URL = "http://crl.example/1"
NAME = "mx1.contoso.example"
ROOTS = {"a": "CN=Root X1", "b": "CN=Root X2"}


def leaf(days: float = 60, *names: str, life: float = 365, issuer: str = "CN=CA", key: str = "EC-P-256") -> Any:
    """A certificate that ends in so many days after a life of so many."""
    end = NOW + days * DAY
    named = names or (NAME,)
    return CertificateFacts(
        f"CN={named[0]}", issuer, "1", named[0], named, (), "aa" * 32, "bb" * 20, "cc" * 32, end - life * DAY, end, key
    )


def entry(number: str = "a", days: float = 60, **fields: Any) -> Entry:
    shape = {name: fields.pop(name) for name in ("life", "issuer", "key") if name in fields}
    names = fields.pop("names", ())
    given = {"state": State.CURRENT, "added": NOW - 300 * DAY, "since": NOW - 300 * DAY, **fields}
    return Entry(number, leaf(days, *names, **shape), **given)


def judged(*entries: Entry, observed: Observed | None = None, scope: Scope | None = None, **rest: Any) -> list[Alarm]:
    given = {"troubles": {}, "roots": {}, "now": NOW, **rest}
    return list(judge({one.id: one for one in entries}, scope or Scope(), observed or Observed(), **given))


def shown(alarms: list[Alarm]) -> list[tuple[str, str]]:
    return [(str(one.kind), str(one.severity)) for one in alarms]


# days left, days of its whole life -> the step that was passed and how grave that is
EXPIRY = [
    (31, 365, None),
    (30, 365, (30, "warning")),
    (14.01, 365, (30, "warning")),
    (14, 365, (14, "warning")),
    (7, 365, (7, "error")),
    (1.01, 365, (7, "error")),
    (1, 365, (1, "critical")),
    (0.001, 365, (1, "critical")),
    (0, 365, (0, "critical")),
    (-400, 365, (0, "critical")),
    (29.9, 90, None),  # renewed at a third of its life
    (14, 90, (14, "warning")),
    (13.9, 47, (14, "warning")),
    (6.9, 10, None),
    (1, 6, (1, "critical")),
    (0.5, 1, None),
    (0, 1, (0, "critical")),
]


@pytest.mark.parametrize(("days", "life", "expected"), EXPIRY)
def test_an_end_that_comes_nearer(days, life, expected):
    for one in (entry(days=days, life=life, origin=Origin.ACME), entry(days=days, life=life, purpose=Purpose.CLIENT)):
        found = judged(one, scope=Scope(used=frozenset({("", "")})))
        assert [(alarm.step, alarm.severity) for alarm in found] == ([expected] if expected else [])


def test_only_what_is_used_is_looked_after():
    used = entry("a", 1, purpose=Purpose.CLIENT, organization="contoso", label="bank")
    unused = entry("b", 1, purpose=Purpose.CLIENT, organization="contoso", label="old")
    old = [entry("c", 1, state=State.DEPRECATED), entry("d", 1, state=State.RETIRED)]
    scope = Scope(used=frozenset({("contoso", "bank")}))
    assert watched({one.id: one for one in (used, unused, *old)}, scope) == [used]
    (found,) = judged(used, unused, *old, scope=scope)
    assert found.title == "the client certificate 'bank' of contoso (certificate a) expires in 24 hours"


# what follows a certificate that ends in 20 days -> kinds
FOLLOWING: list[tuple[dict[str, Any], list[str]]] = [
    ({"names": ("other.example",)}, ["expiry", "next-missing"]),
    ({"key": "RSA-2048"}, ["expiry", "next-missing"]),
    ({"days": 19}, ["expiry", "next-ends", "next-missing"]),
    ({"days": 30}, ["expiry", "next-ends"]),
    ({"days": 34.1}, ["expiry"]),
    ({}, ["expiry"]),
    ({"names": ("*.contoso.example",)}, ["expiry"]),
    ({"names": ("other.example",), "replaces": ("a",)}, ["expiry"]),
    ({"switch_at": NOW + 5 * DAY}, []),
    ({"switch_at": NOW + 21 * DAY}, ["expiry"]),
    ({"days": -1}, ["next-ends", "expiry", "next-missing"]),
    ({"days": 25, "switch_at": NOW + 26 * DAY}, ["next-ends", "expiry"]),
    ({"purpose": Purpose.CLIENT}, ["expiry", "next-missing"]),
]


@pytest.mark.parametrize(("following", "kinds"), FOLLOWING)
def test_what_is_to_follow(following, kinds):
    after = entry("b", **{"days": 400, "state": State.NEXT, **following})
    assert [str(one.kind) for one in judged(entry(days=20), after)] == kinds


# a current certificate -> whether it is told that none follows
MISSING: list[tuple[dict[str, Any], bool]] = [
    ({"days": 21}, True),
    ({"days": 21.1}, False),
    ({"days": 0}, False),  # that it expired says it all
    ({"days": 20, "life": 63}, False),
    ({"days": 20, "origin": Origin.ACME}, False),
    ({"days": 20, "origin": Origin.AUTHORITY}, False),
    ({"days": 20, "origin": Origin.SETTINGS}, True),
    ({"days": 20, "origin": Origin.SETTINGS, "replaces": ("z",)}, False),
    ({"days": 20, "origin": Origin.FILES, "replaces": ("z",)}, False),
    ({"days": 20, "replaces": ("z",)}, True),
    ({"days": 20, "names": ("*.contoso.example",)}, True),
]


def test_what_came_from_acme_is_renewed_only_while_that_is_on():
    one = entry(days=20, origin=Origin.ACME)
    assert ("next-missing", "warning") in shown(judged(one, scope=Scope(acme=False)))


@pytest.mark.parametrize(("fields", "told"), MISSING)
def test_a_next_one_is_missing(fields, told):
    assert (("next-missing", "warning") in shown(judged(entry(**fields)))) is told


def test_a_client_identity_is_followed_by_its_label():
    old = entry("a", 20, purpose=Purpose.CLIENT, organization="contoso", label="bank", names=("x",))
    new = entry("b", 400, purpose=Purpose.CLIENT, organization="contoso", label="bank", state=State.NEXT)
    scope = Scope(used=frozenset({("contoso", "bank")}))
    assert shown(judged(old, replace(new, switch_at=NOW + DAY), scope=scope)) == []
    assert shown(judged(old, replace(new, label="other"), scope=scope)) == [("expiry", "warning")]


def test_a_certificate_without_names_is_followed_by_what_is_named_for_it():
    nameless = replace(leaf(20), dns_names=())
    old = Entry("a", nameless, state=State.CURRENT)
    new = Entry("b", replace(leaf(400), dns_names=()), state=State.NEXT)
    assert ("next-missing", "warning") in shown(judged(old, new))
    assert ("next-missing", "warning") not in shown(judged(old, replace(new, replaces=("a",))))
    assert judged(old, new)[0].title.startswith("the certificate a for CN=mx1.contoso.example expires in")


FAILED = FailedRenewal("no\x1bway", NOW + 900)


def chain(**fields: Any) -> Observed:
    return Observed(chains={"a": ChainSeen(**fields)})


CHAINS = [
    (chain(), []),
    (chain(revoked=None), []),
    (chain(revoked="by somebody"), [("revoked", "critical")]),
    (chain(missing="CN=Middle"), [("chain-incomplete", "error")]),
    (chain(ending=leaf(31)), []),
    (chain(ending=leaf(30)), [("chain-ends", "warning")]),
    (chain(ending=leaf(7)), [("chain-ends", "error")]),
    (chain(ending=leaf(1)), [("chain-ends", "critical")]),
    (chain(ending=leaf(-1)), [("chain-ends", "critical")]),
    (Observed(chains={"b": ChainSeen(revoked="by somebody")}), []),
    (Observed(renewals={"a": FAILED}), [("renewal-failing", "warning")]),
    (Observed(renewals={"a": None}), []),
    (Observed(renewals={"b": FAILED}), []),
]


@pytest.mark.parametrize(("observed", "expected"), CHAINS)
@pytest.mark.parametrize("state", [State.CURRENT, State.NEXT])
def test_what_was_seen_of_a_chain(observed, expected, state):
    found = judged(entry(state=state), observed=observed)
    assert shown(found) == expected
    assert all(one.certificate == "a" for one in found)


@pytest.mark.parametrize(("days", "severity"), [(6, "error"), (1.1, "error"), (0.9, "critical")])
def test_a_renewal_that_fails_near_the_end_is_graver(days, severity):
    one = entry(days=days, origin=Origin.ACME, life=2)
    (alarm,) = judged(one, observed=Observed(renewals={"a": FAILED}))
    assert (alarm.kind, alarm.severity) == ("renewal-failing", severity)
    assert "certificate a for " in alarm.title


NONE_YET = Observed(renewals={(NAME, "mail.contoso.example"): FAILED})
ENFORCED = Scope((WantedName(NAME, "Senders that obey the policy do not deliver here.", Severity.CRITICAL),))
OTHERS = entry(names=("other.example",))
NOT_ISSUED = [
    ([], Scope(), "error", "Without it the gateway offers no TLS."),
    ([OTHERS], Scope(), "error", "No other certificate has its names."),
    ([OTHERS], ENFORCED, "critical", "No other certificate has its names."),
    ([entry(), entry("b", names=("mail.contoso.example",))], ENFORCED, "warning", "Another certificate has its names"),
]


@pytest.mark.parametrize(("entries", "scope", "severity", "text"), NOT_ISSUED)
def test_a_certificate_that_never_came(entries, scope, severity, text):
    """One alarm, with the reason: not another one that nothing has the name."""
    (alarm,) = judged(*entries, observed=NONE_YET, scope=scope)
    assert (alarm.kind, alarm.severity, alarm.certificate, alarm.about) == ("renewal-failing", severity, "", NAME)
    assert alarm.title == f"no certificate has been issued for {NAME}, mail.contoso.example"
    assert text in alarm.detail
    assert f"The next try is at {minute_text(NOW + 900)}. The last one failed: no\ufffdway." in alarm.detail


def test_a_certificate_that_is_requested_just_now_is_not_missing():
    assert judged(OTHERS, observed=Observed(renewals={(NAME,): None}), scope=ENFORCED) == []


def test_a_next_try_that_comes_too_late_asks_for_another_authority():
    late = Observed(renewals={"a": FailedRenewal("wait", NOW + 6 * DAY)})
    (alarm,) = judged(entry(days=6, origin=Origin.ACME, life=10), observed=late)
    assert alarm.fix.startswith("The next try comes too late. Have another one issued by another authority")
    assert f"gatepost certificate request --name {NAME} -o request.pem" in alarm.lines


def test_the_end_of_one_whose_successor_waits_asks_for_the_switch():
    waiting = entry("b", days=60, state=State.NEXT, origin=Origin.ACME)
    (alarm,) = judged(entry(days=6, origin=Origin.ACME), waiting)
    assert alarm.kind == "expiry"
    assert alarm.fix == "B is there to replace it: look at what it waits for, and switch to it:"
    assert alarm.lines[-1] == "gatepost certificate changeover switch b"


def test_a_renewal_that_fails_names_cause_end_and_next_try():
    (alarm,) = judged(entry(days=6, origin=Origin.ACME, life=10), observed=Observed(renewals={"a": FAILED}))
    end, again = minute_text(NOW + 6 * DAY), minute_text(NOW + 900)
    text = f"The certificate ends at {end}, the next try is at {again}. The last one failed: no\ufffdway."
    assert alarm.detail == text
    late = judged(entry(days=6, origin=Origin.ACME, life=10), observed=Observed(renewals={"a": FailedRenewal("no", 5)}))
    assert f"the next try is at {minute_text(NOW)}" in late[0].detail, "what is overdue is tried now"


MUST = entry(must_staple=True)
STAPLES: list[tuple[Entry, frozenset[str] | None, bool]] = [
    (MUST, None, False),
    (MUST, frozenset({"a"}), False),
    (MUST, frozenset({"b"}), True),
    (replace(MUST, since=NOW - 800), frozenset(), False),
    (replace(MUST, must_staple=False), frozenset(), False),
    (replace(MUST, state=State.NEXT), frozenset(), False),
]


@pytest.mark.parametrize(("one", "stapled", "told"), STAPLES)
def test_a_staple_that_must_be(one, stapled, told):
    found = shown(judged(one, observed=Observed(stapled=stapled)))
    assert found == ([("staple-missing", "error")] if told else [])


HOSTS = [
    (TlsaSeen(TlsaState.ABSENT), []),
    (TlsaSeen(TlsaState.MATCHED), []),
    (TlsaSeen(TlsaState.NOTHING, "another key", ("a",)), [("tlsa-mismatch", "critical")]),
    (TlsaSeen(TlsaState.NOTHING, "another key", ("a",), proven=False), [("tlsa-mismatch", "error")]),
    (TlsaSeen(TlsaState.PARTLY, "another key", ("a", "gone")), [("tlsa-mismatch", "error")]),
    (TlsaSeen(TlsaState.UNUSABLE, "no known usage"), [("tlsa-mismatch", "warning")]),
    (TlsaSeen(TlsaState.BOGUS, "signature expired"), [("dnssec-bogus", "critical")]),
]


@pytest.mark.parametrize(("seen", "expected"), HOSTS)
def test_what_senders_with_dane_see(seen, expected):
    found = judged(entry(), observed=Observed(tlsa={NAME: seen}))
    assert shown(found) == expected
    if expected:
        assert (found[0].about, found[0].certificate) == (NAME, "")
        assert seen.detail in found[0].detail
    if expected and expected[0][0] == "tlsa-mismatch":
        assert f"_25._tcp.{NAME}. IN TLSA 3 1 1 {'cc' * 32}" in found[0].lines


WANTED = Scope((WantedName(NAME, "Why.", Severity.WARNING), WantedName("mta-sts.x.example", "Why.", Severity.ERROR)))
NAMES = [
    ([], []),  # no certificate, no TLS: that is meant
    ([entry(state=State.NEXT)], []),
    ([entry()], ["mta-sts.x.example"]),
    ([entry(names=("*.x.example", "*.contoso.example"))], []),
    ([entry(names=("other.example",))], ["mta-sts.x.example", NAME]),
    ([entry(purpose=Purpose.CLIENT)], []),
]


@pytest.mark.parametrize(("entries", "missing"), NAMES)
def test_names_that_nothing_bears(entries, missing):
    found = judged(*entries, scope=WANTED)
    assert [one.about for one in found if one.kind is Kind.NAME_NOT_COVERED] == missing


RENEWED = entry("b", added=NOW - DAY, current_from=NOW - DAY, replaces=("a", "lost"))
OLD = entry("a", state=State.DEPRECATED)
CHANGES = [
    (RENEWED, ROOTS, [("chain-changed", "error")]),
    (RENEWED, {"a": "CN=Root X1", "b": "CN=Root X1"}, []),
    (RENEWED, {"b": "CN=Root X2"}, []),
    (RENEWED, {"a": "CN=Root X1"}, []),
    (replace(RENEWED, leaf=leaf(60, issuer="CN=Other CA")), {}, [("chain-changed", "warning")]),
    (replace(RENEWED, origin=Origin.ACME), ROOTS, [("chain-changed", "error")]),
    (replace(RENEWED, origin=Origin.ACME, leaf=leaf(60, issuer="CN=Other CA")), {}, []),  # several take turns there
    (replace(RENEWED, replaces=("lost",)), ROOTS, []),
    (replace(RENEWED, current_from=NOW - DAY + 1), ROOTS, []),  # it was staged, and then switched to
    (replace(RENEWED, current_from=0.0, added=0.0), ROOTS, []),
    (replace(RENEWED, current_from=NOW - 7 * DAY, added=NOW - 7 * DAY), ROOTS, []),
]


@pytest.mark.parametrize(("new", "roots", "expected"), CHANGES)
def test_another_authority_without_a_changeover(new, roots, expected):
    assert shown(judged(new, OLD, roots=roots)) == expected


def test_another_root_by_acme_can_be_rolled_back():
    (alarm,) = judged(replace(RENEWED, origin=Origin.ACME), OLD, roots=ROOTS)
    assert "when ACME renewed it" in alarm.detail
    assert alarm.lines == ("gatepost certificate changeover roll-back b",)


URL = "http://crl.example/1"
TROUBLES = [
    (Trouble(NOW - 3 * HOUR, 3, "CRL", "HTTP 500", "a"), True),
    (Trouble(NOW - 3 * HOUR, 2, "CRL", "HTTP 500", "a"), False),
    (Trouble(NOW - HOUR, 9, "CRL", "HTTP 500", "a"), False),
]


@pytest.mark.parametrize(("trouble", "told"), TROUBLES)
def test_an_address_that_fails_again_and_again(trouble, told):
    found = judged(entry(), troubles={URL: trouble})
    assert [(one.kind, one.about) for one in found] == ([(Kind.ENDPOINT_UNREACHABLE, URL)] if told else [])


def standing(kind: Kind, certificate: str = "a", about: str = "") -> Alarm:
    return Alarm(kind, Severity.ERROR, certificate, "", "", "", about)


FULL = Observed({"a": ChainSeen()}, {NAME: TlsaSeen(TlsaState.MATCHED)}, frozenset(), {})
OPEN = [
    (standing(Kind.REVOKED), Observed(), True),
    (standing(Kind.REVOKED), chain(revoked=None), True),
    (standing(Kind.REVOKED), FULL, False),
    (standing(Kind.REVOKED, "gone"), Observed(), False),
    (standing(Kind.CHAIN_INCOMPLETE), Observed(), True),
    (standing(Kind.CHAIN_INCOMPLETE), FULL, False),
    (standing(Kind.CHAIN_ENDS), Observed(), True),
    (standing(Kind.CHAIN_ENDS), FULL, False),
    (standing(Kind.TLSA_MISMATCH, "", NAME), Observed(), True),
    (standing(Kind.TLSA_MISMATCH, "", NAME), FULL, False),
    (standing(Kind.DNSSEC_BOGUS, "", NAME), Observed(), True),
    (standing(Kind.STAPLE_MISSING), Observed(), True),
    (standing(Kind.STAPLE_MISSING), FULL, False),
    (standing(Kind.RENEWAL_FAILING), Observed(), True),
    (standing(Kind.RENEWAL_FAILING), FULL, False),
    (standing(Kind.RENEWAL_FAILING), Observed(renewals={"a": None}), True),
    (standing(Kind.RENEWAL_FAILING), Observed(renewals={"b": None}), False),
    (standing(Kind.RENEWAL_FAILING, "", NAME), Observed(), True),
    (standing(Kind.RENEWAL_FAILING, "", NAME), Observed(renewals={(NAME, "b.example"): None}), True),
    (standing(Kind.RENEWAL_FAILING, "", NAME), Observed(renewals={("b.example",): None, "a": None}), False),
    (standing(Kind.EXPIRY), Observed(), False),
    (standing(Kind.NAME_NOT_COVERED, "", NAME), Observed(), False),
]


@pytest.mark.parametrize(("alarm", "observed", "is_open"), OPEN)
def test_what_nothing_was_learnt_of_stays_open(alarm, observed, is_open):
    assert undecided(alarm, {"a": entry()}, Scope(), observed) is is_open


def test_a_host_that_is_ours_no_more_is_over():
    """A host name that changed: nothing is presented under the old one."""
    alarm = standing(Kind.TLSA_MISMATCH, "", "old.example")
    assert not undecided(alarm, {}, Scope(), Observed())
    assert not undecided(alarm, {"a": entry()}, Scope(), FULL)
    assert undecided(alarm, {"a": entry()}, Scope(), replace(FULL, unknown=("no answer",)))


def test_the_gravest_come_first_and_each_has_a_key_of_its_own():
    observed = Observed({"a": ChainSeen(revoked="x", missing="y")}, {NAME: TlsaSeen(TlsaState.UNUSABLE)})
    found = judged(entry(days=20), observed=observed, scope=WANTED)
    order = [str(one) for one in (Severity.CRITICAL, Severity.ERROR, Severity.WARNING)]
    assert [order.index(one.severity) for one in found] == sorted(order.index(one.severity) for one in found)
    assert len({one.key for one in found}) == len(found)
    assert found[0].key == "revoked a"
    assert {one.key for one in found} >= {f"tlsa-mismatch - {NAME}", "expiry a"}


# what is remembered of a look


def look(memory: Memory, *endpoints: Endpoint, at: float = 0.0, number: str = "a", root: str = "CN=Root") -> Memory:
    observed = Observed({number: ChainSeen(root, endpoints=endpoints)}, unknown=("one",))
    entries: Any = {"a": None, "b": None}
    return remember(memory, observed, entries, now=NOW + at)


def test_an_address_that_fails_is_counted_until_it_answers():
    bad, good = Endpoint(URL, "CRL", "HTTP 500"), Endpoint(URL, "CRL")
    memory = look(look(Memory(), bad), Endpoint(URL, "CRL", "HTTP 404"), at=60)
    assert memory.troubles == {URL: Trouble(NOW, 2, "CRL", "HTTP 404", "a")}
    assert (memory.looked, memory.unknown, memory.roots) == (NOW + 60, ("one",), {"a": "CN=Root"})
    assert look(memory, good, at=90).troubles == {}
    assert look(memory, at=90).troubles == {}, "no certificate names it any more"
    assert look(memory, number="b", at=90).troubles == memory.troubles, "nobody asked"
    assert remember(memory, Observed(), {}, now=NOW).troubles == {}, "its certificate is gone"


def test_one_address_of_two_certificates_is_counted_once():
    bad = (Endpoint(URL, "CRL", "HTTP 500"),)
    observed = Observed({"a": ChainSeen(endpoints=bad), "b": ChainSeen(endpoints=bad)})
    entries: Any = {"a": None, "b": None}
    assert remember(Memory(), observed, entries, now=NOW).troubles[URL].failures == 1


def test_where_a_chain_led_is_remembered_as_long_as_the_certificate():
    memory = look(look(Memory(), root="CN=Old"), number="b", root="")
    assert memory.roots == {"a": "CN=Old"}
    assert remember(memory, Observed(), {}, now=NOW).roots == {}


def test_only_so_many_addresses_are_remembered():
    endpoints = [Endpoint(f"{URL}{number}", "CRL", "x") for number in range(100)]
    assert len(look(Memory(), *endpoints).troubles) == 50


@pytest.mark.parametrize(
    ("days", "title", "then"), [(6.5, "expires in 6 days", "From then on"), (-1, "has expired", "")]
)
def test_what_is_told_of_an_issuer_that_ends_first(days, title, then):
    (alarm,) = judged(entry(chain_file="/etc/chain.pem"), observed=chain(ending=leaf(days, "Middle")))
    assert alarm.title == f"an issuer of the certificate a for {NAME} {title}"
    assert (
        f"CN=Middle, which is between it and its root or is its root, ends at {minute_text(NOW + days * DAY)}"
        in alarm.detail
    )
    assert then in alarm.detail
    assert "put it into /etc/chain.pem" in alarm.fix
    assert alarm.lines == ("gatepost check chain /etc/chain.pem",)
