from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.policy.connectors.credentials import (
    CredentialFault,
    certificate_lack,
    describe_client,
    describe_sender,
    presented,
)
from gatepost.policy.connectors.directory import Directory, InboundEntry
from gatepost.policy.connectors.facts import Introduction, SessionFacts, Teller
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict, Revocation
from gatepost.values import replace

Build = Callable[[str], Directory]
Chain = Callable[..., ChainVerdict]
Session = Callable[..., SessionFacts]

CONNECTOR = """
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.inbound_connector]]
name = "hq"
connector_type = "on-premises"
tls_sender_certificate_name = "*.o.example"
"""


@pytest.fixture
def entry(directory: Build) -> Callable[[str], InboundEntry]:
    def build(fields: str = "") -> InboundEntry:
        index = directory(CONNECTOR + fields)
        (organization,) = index.resources.organizations
        return index.entry(organization, organization.inbound_connectors[0])

    return build


UNTRUSTED = [status for status in ChainStatus if status not in {ChainStatus.TRUSTED, ChainStatus.NO_CERTIFICATE}]


def test_a_trusted_certificate_with_the_name_lacks_nothing(
    entry: Callable[[str], InboundEntry], session: Session, chain: Chain
) -> None:
    assert certificate_lack(entry(""), session(chain=chain("mx.o.example"))) is None


def test_in_clear_and_without_a_certificate_are_told_apart(
    entry: Callable[[str], InboundEntry], session: Session, chain: Chain
) -> None:
    in_clear = certificate_lack(entry(""), session())
    assert in_clear == (CredentialFault.NO_TLS, "names *.o.example, and the session is not encrypted", "")
    none = certificate_lack(entry(""), replace(session(chain=chain("x.test")), client_chain=None))
    assert none == (CredentialFault.NO_CERTIFICATE, "names *.o.example, and the client presented no certificate", "")


def test_another_name_is_told_with_the_names_it_bears(
    entry: Callable[[str], InboundEntry], session: Session, chain: Chain
) -> None:
    for status in ("trusted", "expired"):  # of a certificate for somebody else the chain does not matter
        lack = certificate_lack(entry(""), session(chain=chain("a.test", "b.test", common_name="c", status=status)))
        assert lack is not None
        assert lack.fault is CredentialFault.OTHER_NAME
        assert lack.why == "names *.o.example, and the client's certificate has other names (a.test, b.test (CN c))"


def test_a_name_in_the_cn_alone_is_told_as_that(
    entry: Callable[[str], InboundEntry], session: Session, chain: Chain
) -> None:
    facts = session(chain=chain("a.test", common_name="mx.o.example"))
    lack = certificate_lack(entry(""), facts)
    assert lack is not None
    assert lack.fault is CredentialFault.ONLY_COMMON_NAME
    assert "but it is only in the CN of the client's certificate, and match_common_name is off" in lack.why
    assert certificate_lack(entry("match_common_name = true"), facts) is None


@pytest.mark.parametrize("status", UNTRUSTED)
def test_each_reason_against_the_chain_is_its_own(
    entry: Callable[[str], InboundEntry], session: Session, chain: Chain, status: ChainStatus
) -> None:
    facts = session(chain=chain("mx.o.example", status=status, detail="the reason"))
    lack = certificate_lack(entry('revocation_check = "hard-fail"'), facts)
    assert lack is not None
    assert lack.why == (
        f"names *.o.example, but the client's certificate with that name is not trusted: {status}, the reason"
    )
    assert lack.status == status
    unknown = status is ChainStatus.REVOCATION_UNKNOWN
    assert lack.fault is (CredentialFault.REVOCATION_UNKNOWN if unknown else CredentialFault.NOT_TRUSTED)
    assert lack.is_ours is unknown


def test_a_reason_without_detail_is_no_open_sentence(
    entry: Callable[[str], InboundEntry], session: Session, chain: Chain
) -> None:
    lack = certificate_lack(entry(""), session(chain=chain("mx.o.example", status="expired")))
    assert lack is not None
    assert lack.why.endswith("is not trusted: expired")


UNKNOWN = Revocation("unknown", "the list could not be fetched")


@pytest.mark.parametrize(
    "case",
    [
        ("none", "trusted", UNKNOWN, None),
        ("soft-fail", "trusted", UNKNOWN, None),
        ("hard-fail", "trusted", UNKNOWN, CredentialFault.REVOCATION_UNKNOWN),
        ("hard-fail", "trusted", None, None),  # nobody asked: it had no connector to ask for when the session began
        ("hard-fail", "trusted", Revocation("good", "", "crl"), None),
        ("hard-fail", "trusted", Revocation("not-published", "nothing is published"), None),
        ("none", "revoked", None, None),
        ("soft-fail", "revoked", None, CredentialFault.NOT_TRUSTED),
        ("none", "revocation-unknown", UNKNOWN, None),
        ("soft-fail", "revocation-unknown", UNKNOWN, None),
        ("hard-fail", "revocation-unknown", UNKNOWN, CredentialFault.REVOCATION_UNKNOWN),
        ("none", "expired", None, CredentialFault.NOT_TRUSTED),
    ],
)
def test_a_connector_says_how_serious_it_is_about_revocation(
    entry: Callable[[str], InboundEntry],
    session: Session,
    chain: Chain,
    case: tuple[str, str, Revocation | None, CredentialFault | None],
) -> None:
    check, status, revocation, fault = case
    facts = session(chain=replace(chain("mx.o.example", status=status), revocation=revocation))
    lack = certificate_lack(entry(f'revocation_check = "{check}"'), facts)
    assert (lack.fault if lack else None) is fault
    if lack is not None and fault is CredentialFault.REVOCATION_UNKNOWN:
        assert lack.why.endswith("is not trusted: revocation-unknown, the list could not be fetched")
        assert lack.is_ours


def test_anchors_of_the_connectors_own_decide_and_say_if_they_cannot(
    entry: Callable[[str], InboundEntry], session: Session, chain: Chain
) -> None:
    connector = entry('trust_anchors = "/etc/private.pem"')
    public = chain("mx.o.example")
    unread = certificate_lack(connector, session(chain=public))
    assert unread is not None
    assert (unread.fault, unread.is_ours) == (CredentialFault.NOT_JUDGED, True)
    assert unread.why.endswith("was not checked: its trust_anchors cannot be read (/etc/private.pem)")
    private = session(chain=chain("mx.o.example", status="untrusted-root"), chains={"/etc/private.pem": public})
    assert certificate_lack(connector, private) is None


def test_what_a_client_presented(session: Session, chain: Chain) -> None:
    assert presented(session()) is None
    shown = chain("a.test")
    assert presented(session(chain=shown)) is shown.leaf


def test_a_client_that_nobody_knows(session: Session, chain: Chain) -> None:
    unreadable = session(chain=ChainVerdict(ChainStatus.INVALID, "it is not an X.509 certificate", None))
    assert describe_client(unreadable) == (
        "its certificate cannot be read (it is not an X.509 certificate), and it comes from 203.0.113.9"
    )
    empty = session(chain=ChainVerdict(ChainStatus.NO_CERTIFICATE, "no certificate was presented", None))
    assert describe_client(empty) == "it presented no certificate, and it comes from 203.0.113.9"
    assert describe_client(session()) == "it is not encrypted, and it comes from 203.0.113.9"
    for status, said in {"trusted": "is trusted, but", "expired": "is not trusted: expired;"}.items():
        text = describe_client(session(chain=chain("a.test", status=status)))
        assert text == (f"its certificate {said} no connector has a name in it (a.test); it comes from 203.0.113.9")


def test_who_says_where_a_client_comes_from_is_told(session: Session) -> None:
    told = session(introduction=Introduction(Teller.XCLIENT, "192.0.2.7"))
    assert describe_client(told) == "it is not encrypted, and it comes from 203.0.113.9 (by XCLIENT of 192.0.2.7)"


def test_a_sender_is_named_by_its_domain() -> None:
    assert describe_sender("a.test") == "the sender's domain a.test"
    assert describe_sender("") == "the null reverse-path"
