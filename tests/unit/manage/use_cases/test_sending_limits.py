from __future__ import annotations

import time
from contextlib import closing

import pytest
from tests.unit.manage.calls import run

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.sending_limits import lift_limit, list_limits
from gatepost.store.sending_usage import SenderUsage
from gatepost.times import day_text

TENANT = Principal("tim", frozenset(Scope), frozenset({"contoso"}))
STRANGER = Principal("sue", frozenset(Scope), frozenset({"fabrikam"}))


@pytest.fixture
def limited(whole_day, gateway):
    """Contoso's users may send to 10 recipients, and one of them to 5; a server of Fabrikam has the same name."""
    server = {"name": "ann@a.example", "connector_type": "on-premises", "messages_per_day": 9}
    resources = {
        "contoso": {
            "user_recipients_per_day": 10,
            "accepted_domain": [{"name": "a.example"}],
            "mailbox": [{"address": "ann@a.example", "recipients_per_day": 5}, {"address": "bob@a.example"}],
        },
        "fabrikam": {"inbound_connector": [server | {"sender_ip_addresses": ["192.0.2.1"]}]},
    }
    with gateway.config() as store:
        store.apply({"organization": resources}, author="ann")
    with closing(gateway.storage.sending_usage()) as table:
        used = SenderUsage(day_text(time.time()), "contoso", "user ann@a.example", 2, 6, breached=1.0, breach="450 no")
        table.add([used])
    return gateway


def test_who_sent_today(limited):
    (sender,) = run(limited, list_limits).items
    assert (sender.sender, sender.messages, sender.recipients, sender.recipients_allowed, sender.lifted) == (
        "user ann@a.example", 2, 6, 5, "no",
    )  # fmt: skip
    assert run(limited, list_limits, organization="fabrikam").items == []
    assert run(limited, list_limits, principal=STRANGER).items == []


def test_an_organization_lifts_its_own_limit_and_the_owner_all(limited):
    tried = run(limited, lift_limit, principal=TENANT, sender="Ann@a.example", dry_run=True)
    assert (tried.lifted, tried.recipients) == ("no", 6)
    lifted = run(limited, lift_limit, principal=TENANT, sender="Ann@a.example")
    assert (lifted.lifted, lifted.lifted_by, lifted.recipients_allowed) == ("own", "tim", 10)
    lifted = run(limited, lift_limit, sender="user ann@a.example")
    assert (lifted.lifted, lifted.recipients_allowed) == ("all", 0)
    lifted = run(limited, lift_limit, sender="bob@a.example", dry_run=True)
    assert (lifted.sender, lifted.messages) == ("user bob@a.example", 0)


def test_a_lift_by_the_owner_is_not_put_down_to_a_tenant_who_lifts_less(limited):
    run(limited, lift_limit, sender="user ann@a.example")
    lifted = run(limited, lift_limit, principal=TENANT, sender="ann@a.example")
    assert (lifted.lifted, lifted.lifted_by) == ("all", "ann")


@pytest.mark.parametrize(
    ("fields", "principal", "kind"),
    [
        ({"sender": "bob@a.example"}, TENANT, RefusalKind.CONFLICT),
        ({"sender": "ann@a.example"}, None, RefusalKind.CONFLICT),
        ({"sender": "nobody"}, None, RefusalKind.MISSING),
        ({"sender": "bob@a.example"}, STRANGER, RefusalKind.MISSING),
    ],
)
def test_what_cannot_be_lifted(limited, fields, principal, kind):
    with pytest.raises(Refusal) as refused:
        run(limited, lift_limit, **fields, **({"principal": principal} if principal else {}))
    assert refused.value.kind is kind


def test_a_table_that_cannot_be_read(limited):
    (limited.data / "sending-usage.db").write_bytes(b"nothing of ours" * 1000)
    with pytest.raises(Refusal) as refused:
        run(limited, list_limits)
    assert refused.value.kind is RefusalKind.UNREADABLE
