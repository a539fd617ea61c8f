from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import tomlkit
from msgspec.structs import asdict, replace

from gatepost.analysis.checks.partner_report import Finding, Mark, Stage
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.mta_sts import (
    GetMtaStsPolicy,
    check_policy,
    finding_record,
    get_mta_sts_policy,
    policy_of,
    policy_record,
    reports_line,
)
from gatepost.manage.use_cases.name_lookup import DOMAIN, choose_part
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.loader import load

HOST, POLICY = "mx.gate.example", "mta-sts.contoso.example"
ENFORCED = {"name": "contoso.example", "mta_sts": "enforce", "mta_sts_mx": [HOST]}


@pytest.fixture
def serving(tmp_path, root):
    """A gateway that serves policies with certificates of these names; nothing answers where its DNS should be."""

    def make(*names, domain=ENFORCED, begun=None, **more):
        document = {
            "server": {"hostname": HOST, "data_dir": "data"},
            "mta_sts": {"address": "127.0.0.1:4443" if names else ""},
            "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.2},
            "certificate": [],
        } | more
        for number, name in enumerate(names):
            chain, key = root.issue([name], not_before=begun)
            (tmp_path / f"chain{number}.pem").write_bytes(chain)
            (tmp_path / f"key{number}.pem").touch(0o600)
            (tmp_path / f"key{number}.pem").write_bytes(key)
            document["certificate"].append({"chain": f"chain{number}.pem", "key": f"key{number}.pem"})
        (tmp_path / "gatepost.toml").write_text(tomlkit.dumps(document))
        gateway = Gateway(load(str(tmp_path / "gatepost.toml"), {}))
        with gateway.config() as store:
            store.apply({"organization": {"contoso": {"accepted_domain": [domain]}}}, author="ann")
        return gateway

    return make


def policy(gateway, name="contoso.example"):
    return policy_of(gateway.settings, choose_part(gateway.directory().resources, DOMAIN, name))


def test_all_that_a_zone_is_to_say(serving):
    found = policy(serving(HOST, POLICY))
    record, host, reports = found.zone
    assert record.startswith(f'_mta-sts.contoso.example. IN TXT "v=STSv1; id={found.found.record.id}')
    assert host == f"{POLICY}. IN CNAME {HOST}."
    assert reports == reports_line("contoso.example")
    assert (found.problems, found.served_at) == ((), "127.0.0.1:4443")
    assert found.certificate.startswith(f"CN={POLICY}, valid until ")


# what is not as it should be -> what is to be mended
PROBLEMS = [
    ((HOST,), {}, [f"no [[certificate]] bears {POLICY}"]),
    ((POLICY,), {}, [f"no [[certificate]] bears {HOST}"]),
    ((), {}, ["it is not served", f"no [[certificate]] bears {POLICY}", f"no [[certificate]] bears {HOST}"]),
    (("*.contoso.example", HOST), {}, []),
    ((HOST, POLICY), {"mta_sts": {"address": ""}}, ["it is not served"]),
]


@pytest.mark.parametrize(("names", "more", "problems"), PROBLEMS)
def test_what_is_to_be_mended_is_said_before_senders_find_it(serving, names, more, problems):
    found = policy(serving(*names, **more))
    assert len(found.problems) == len(problems)
    assert [told for told, one in zip(found.problems, problems, strict=True) if not told.startswith(one)] == []


def test_in_testing_senders_deliver_whatever_our_certificates_are(serving):
    found = policy(serving(POLICY, domain=ENFORCED | {"mta_sts": "testing"}))
    assert found.problems == ()


def test_a_certificate_that_has_expired_is_said(serving):
    found = policy(serving(HOST, POLICY, begun=datetime.now(UTC) - timedelta(days=91)))
    assert any("has expired: senders cannot fetch the policy" in one for one in found.problems)


def test_a_certificate_that_cannot_be_read_is_said_and_the_policy_is_shown(serving, tmp_path):
    gateway = serving(HOST, POLICY)
    (tmp_path / "chain1.pem").write_text("nonsense")
    found = policy(gateway)
    assert found.certificate == ""
    assert found.problems[0].startswith("the certificates cannot be read here: ")
    assert len(found.zone) == 3


def test_without_a_policy_nothing_is_published(serving):
    found = policy(serving(domain={"name": "contoso.example"}))
    assert (found.found, found.zone, found.problems, found.notes(checked=False)) == (None, [], (), [])
    record = policy_record(found, ())
    assert (record.published, record.mode, record.policy, record.record) == (False, "", "", {})


def test_remarks_are_notes_unless_the_findings_have_them(serving):
    found = policy(serving(HOST, POLICY, domain=ENFORCED | {"mta_sts": "testing"}))
    remarks = [one.text for one in found.found.remarks]
    assert remarks
    assert found.notes(checked=False) == [*found.problems, *remarks]
    assert found.notes(checked=True) == list(found.problems)


def test_a_policy_of_an_older_version_that_no_sender_could_use(serving):
    gateway = serving()
    part = choose_part(gateway.directory().resources, DOMAIN, "contoso.example")
    odd = part._replace(record=part.record.model_copy(update={"mta_sts_mx": ("not a host",)}))
    with pytest.raises(Refusal) as refused:
        policy_of(gateway.settings, odd)
    assert refused.value.kind is RefusalKind.UNREADABLE
    assert refused.value.text.startswith(f"{part.label}: no sender could use its policy: ")


def test_a_sender_that_gets_no_answer_cannot_tell(serving):
    gateway = serving(HOST, POLICY)
    found = policy(gateway)
    findings = check_policy(gateway.settings, found)
    assert findings
    assert "pass" not in {str(one.verdict) for one in findings}
    record = policy_record(found, findings)
    assert [asdict(one) for one in record.findings] == [finding_record(one) for one in findings]
    assert (record.mode, record.url) == ("enforce", f"https://{POLICY}/.well-known/mta-sts.txt")


def test_anchors_that_cannot_be_read(serving, tmp_path):
    gateway = serving(HOST, POLICY, tls={"trust_anchors": "gone.pem"})
    with pytest.raises(Refusal) as refused:
        check_policy(gateway.settings, policy(gateway))
    assert refused.value.kind is RefusalKind.INPUT
    assert refused.value.text.startswith("tls.trust_anchors: ")


def test_a_finding_for_machines():
    one = Finding(Stage.DNS, Mark.WARN, "it is so", "seen", "do it")
    assert finding_record(one) == {
        "stage": "dns",
        "verdict": "warn",
        "text": "it is so",
        "evidence": "seen",
        "fix": "do it",
    }


OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("tim", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"contoso"}))
STRANGER = Principal("sid", frozenset({Scope.READ}), frozenset({"fabrikam"}))


def published_policy(gateway, who, domain, organization="contoso", **more):
    request = GetMtaStsPolicy(organization=organization, domain=domain, **more)
    return LocalClient(gateway, who).call(get_mta_sts_policy, request)


def test_what_a_door_asks_for(serving):
    gateway = serving(HOST, POLICY)
    found = published_policy(gateway, TENANT, "CONTOSO.example")
    assert found == policy_record(policy(gateway), ())
    looked = published_policy(gateway, OWNER, "contoso.example", check=True, private=True)
    assert looked.findings
    assert replace(looked, findings=[], notes=[]) == replace(found, notes=[])


@pytest.mark.parametrize(
    ("who", "words", "kind"),
    [
        (STRANGER, {}, RefusalKind.MISSING),
        (OWNER, {"organization": "fabrikam"}, RefusalKind.MISSING),
        (TENANT, {"check": True, "private": True}, RefusalKind.FORBIDDEN),
    ],
)
def test_what_a_door_does_not_get(serving, who, words, kind):
    with pytest.raises(Refusal) as refused:
        published_policy(serving(HOST, POLICY), who, "contoso.example", **words)
    assert refused.value.kind is kind


def test_where_all_is_private_everybody_may_look_there(serving):
    gateway = serving(HOST, POLICY, outbound={"private_policy_hosts": True})
    assert published_policy(gateway, TENANT, "contoso.example", check=True, private=True).findings
