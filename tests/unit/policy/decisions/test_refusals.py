from __future__ import annotations

from gatepost.policy.connectors.credentials import CredentialFault, Lack
from gatepost.policy.decisions import refusals
from gatepost.protocols.smtp.replies import Reply


def test_a_refusal_says_what_is_wrong_with_the_certificate() -> None:
    told = refusals.untrusted(refusals.RELAY_DENIED, "chain-incomplete")
    assert (told.code, told.enhanced) == (550, "5.7.64")
    assert told.text.endswith("Relay Access Denied: your certificate is not trusted, chain-incomplete")


def test_the_class_of_each_code_is_that_of_its_status() -> None:
    made = [reply for reply in vars(refusals).values() if isinstance(reply, Reply)]
    assert len(made) > 10
    assert all(str(reply.code)[0] == reply.enhanced[0] for reply in made)
    assert set(refusals.LOCKED_BY_FAULT) < set(CredentialFault)


def test_a_client_that_a_connector_does_not_know_names_fault_what_it_lacks() -> None:
    unknown, other = Lack(CredentialFault.NOT_TRUSTED, "", "expired"), Lack(CredentialFault.OTHER_NAME, "")
    assert refusals.locked_down(None, both=False) is refusals.LOCKED_ADDRESS
    assert refusals.locked_down(other, both=True) is refusals.LOCKED_DOWN
    assert refusals.locked_down(other, both=False) is refusals.LOCKED_OTHER_NAME
    assert refusals.locked_down(unknown, both=False).text.endswith("is not trusted, expired")
    in_cn = Lack(CredentialFault.ONLY_COMMON_NAME, "")
    assert refusals.locked_down(in_cn, both=False) is refusals.LOCKED_COMMON_NAME
    assert refusals.relay_denied(in_cn) is refusals.RELAY_COMMON_NAME
    assert refusals.relay_denied(None) is refusals.RELAY_DENIED
    assert refusals.relay_denied(Lack(CredentialFault.NOT_JUDGED, "")) is refusals.RELAY_DENIED
    assert refusals.relay_denied(unknown).text.endswith("Relay Access Denied: your certificate is not trusted, expired")
    assert refusals.relay_by_address(in_cn, is_null=True) is refusals.RELAY_COMMON_NAME
    assert refusals.relay_by_address(unknown, is_null=False) == refusals.relay_denied(unknown)
    assert refusals.relay_by_address(None, is_null=True) is refusals.RELAY_NULL
    assert refusals.relay_by_address(Lack(CredentialFault.NOT_JUDGED, ""), is_null=False) is refusals.RELAY_ADDRESS
