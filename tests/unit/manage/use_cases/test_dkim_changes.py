from __future__ import annotations

import pytest

from gatepost.analysis.checks.dkim_record import DkimObservation, RecordCheck
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import dkim
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.dkim import dkim_keys
from gatepost.manage.use_cases.dkim_changes import NotPublished, key_owner
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.dkim_keys import made_key
from gatepost.policy.connectors.values import DkimAlgorithm

from .calls import make_key, rotate

ANN = Principal("ann", frozenset({Scope.OWNER}))
WISH = ChangeOptions("ann", "yearly")
ED = DkimAlgorithm.ED25519_SHA256
DOMAIN = "contoso.example"


@pytest.fixture
def seen(monkeypatch):
    """What the DNS has, by selector."""
    found = {}

    async def dns_check(_, name, __):
        return RecordCheck(found.get(name.partition(".")[0], DkimObservation.MISSING), "why")

    monkeypatch.setattr(dkim, "seen_record", dns_check)
    return found


def add(gateway, selector="", **more):
    return make_key(gateway, ANN, DOMAIN, WISH, "contoso", selector=selector, **more)


def states(gateway):
    return {row.key.selector: str(row.key.state) for row in dkim_keys(gateway, ANN)}


def test_a_key_is_next_and_says_what_the_dns_needs(sealed):
    added = add(sealed, "S1", service_type="tlsrpt")
    assert added.name == f"s1._domainkey.{DOMAIN}"
    assert added.zone.startswith(f'{added.name}. IN TXT "v=DKIM1; k=ed25519; s=tlsrpt; p=')
    assert added.version == 2
    assert states(sealed) == {"s1": "next"}


def test_a_dry_run_keeps_nothing(sealed):
    added = make_key(sealed, ANN, DOMAIN, ChangeOptions("ann", dry_run=True))
    assert added.changes
    assert added.name.endswith(f"e._domainkey.{DOMAIN}")
    assert states(sealed) == {}


@pytest.fixture
def file(tmp_path):
    """Of a private key."""
    found = tmp_path / "k.pem"
    found.touch(0o600)
    found.write_bytes(made_key(ED))
    return found


def test_one_that_is_there_is_taken_in_and_may_sign_at_once(sealed, file):
    pem = file.read_text()
    add(sealed, "a", key=pem, current=True)
    add(sealed, "b", key=pem, key_file=str(file))
    assert states(sealed) == {"a": "current", "b": "next"}
    assert [row.private for row in dkim_keys(sealed, ANN)] == [str(file), "sealed"]


def test_a_file_that_is_not_there_or_anothers_is_refused(sealed, file):
    pem = file.read_text()
    file.write_bytes(made_key(ED))
    for path, why in (("/nowhere/key.pem", "No such file"), (str(file), "not the counterpart of public_key")):
        with pytest.raises(Refusal) as refused:
            add(sealed, "a", key=pem, key_file=path)
        ((where, said),) = [(error.path, error.message) for error in refused.value.errors]
        assert (where, why in said) == ("key_file", True)
    assert states(sealed) == {}


@pytest.mark.parametrize(
    ("new", "kind", "why", "paths"),
    [
        ({"domain": "con toso"}, RefusalKind.INPUT, "is not a domain", ["domain"]),
        ({"organization": "nobody"}, RefusalKind.MISSING, "there is no organization", []),
        ({"selector": "a b"}, RefusalKind.INPUT, "1 error", ["name"]),
        ({"key": "x"}, RefusalKind.INPUT, "the key cannot be used: there is no private key", ["key"]),
        ({"selector": "a" * 201}, RefusalKind.INPUT, "Nothing was done", ["selector"]),
    ],
)
def test_what_cannot_be_is_refused_by_field(sealed, new, kind, why, paths):
    with pytest.raises(Refusal, match=why) as refused:
        make_key(sealed, ANN, options=WISH, **{"domain": DOMAIN, "organization": "contoso"} | new)
    assert refused.value.kind is kind
    assert [error.path for error in refused.value.errors] == paths


def test_without_a_master_key_nothing_is_made(gateway, sealed):
    with gateway.config() as store:
        table = {"accepted_domain": [{"name": DOMAIN}]}
        store.apply({"organization": {"contoso": table}}, author="ann")
    with pytest.raises(Refusal, match="set store"):
        add(gateway, "a")


def test_a_tenant_makes_keys_of_its_own_domains_alone(sealed):
    eve = Principal("eve", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
    with pytest.raises(Refusal, match="There is no organization 'contoso'"):
        make_key(sealed, eve, DOMAIN, WISH, "contoso")


def test_the_owner_is_the_nearest_above(sealed):
    resources = sealed.directory().resources
    assert key_owner(resources, "", f"news.{DOMAIN}").name == "contoso"
    assert key_owner(resources, "contoso", "elsewhere.example").name == "contoso"


def test_a_rotation_waits_for_its_record_unless_there_is_a_reason(sealed, seen):
    add(sealed, "old", current=True)
    add(sealed, "new")
    with pytest.raises(NotPublished) as refused:
        rotate(sealed, ANN, DOMAIN, WISH)
    assert (refused.value.kind, refused.value.options) == (RefusalKind.CONFLICT, ("force",))
    (error,) = refused.value.errors
    assert error.path == f"new._domainkey.{DOMAIN}"
    assert error.message.startswith("missing: why; the zone needs: new._domainkey.")
    seen["new"] = DkimObservation.UNKNOWN
    with pytest.raises(NotPublished) as refused:
        rotate(sealed, ANN, DOMAIN, WISH)
    assert refused.value.kind is RefusalKind.UNREADABLE
    seen["new"] = DkimObservation.PUBLISHED
    rotate(sealed, ANN, DOMAIN.upper(), WISH)
    assert states(sealed) == {"new": "current", "old": "retired"}
    add(sealed, "third")
    rotate(sealed, ANN, DOMAIN, WISH, selector="third", force="at night")
    assert states(sealed) == {"third": "current", "old": "retired", "new": "retired"}
    with sealed.config() as store:
        assert store.history("organization", limit=1)[0].note == "yearly; forced: at night"


def test_which_key_must_be_clear(sealed, seen):
    with pytest.raises(Refusal, match="has no next key yet"):
        rotate(sealed, ANN, DOMAIN, WISH)
    add(sealed, "a")
    add(sealed, "b")
    with pytest.raises(Refusal, match="several next keys of one algorithm") as refused:
        rotate(sealed, ANN, DOMAIN, WISH, force="x")
    assert refused.value.options == ("selector",)
    with pytest.raises(Refusal, match="no next key with the selector c"):
        rotate(sealed, ANN, DOMAIN, WISH, selector="c")


def test_a_key_that_cannot_be_opened_does_not_sign(sealed, seen, file):
    add(sealed, "a", key=file.read_text(), key_file=str(file))
    file.unlink()
    with pytest.raises(Refusal, match="nothing was changed") as refused:
        rotate(sealed, ANN, DOMAIN, WISH, force="x")
    assert refused.value.kind is RefusalKind.CONFLICT


def test_a_weak_key_is_told_of(sealed):
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key  # noqa: PLC0415 - here alone
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    weak = generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # noqa: S505 - it is the weak one
    assert "an RSA key of 1024 bits is weak" in add(sealed, "a", key=weak.decode()).warnings[0]
