from __future__ import annotations

import pytest

from gatepost.settings.loader import load
from gatepost.settings.problem import SettingsError
from gatepost.settings.section import SectionError
from gatepost.settings.sections import Alarms


def test_defaults():
    own = Alarms()
    assert (own.mail_to, own.webhook, own.webhook_private) == ((), "", False)
    assert (own.look, own.partner_failures, own.partner_failing, own.queue_age, own.tls_failures) == (
        60,
        3,
        900,
        14400,
        10,
    )


@pytest.mark.parametrize("address", ["https://hooks.example", "https://[2001:db8::1]:8443/a?b=c"])
def test_where_alarms_may_be_posted(address):
    assert Alarms(webhook=address).webhook == address


WRONG = [
    "http://hooks.example/",
    "https://",
    "https://user:pw@h.example",
    "https://h.example:port",
    "https://h\u00fc.example",
    "https://[x",
]


@pytest.mark.parametrize("address", WRONG)
def test_where_they_may_not(address):
    with pytest.raises(SectionError, match="is not an https address; write where alarms are posted"):
        Alarms(webhook=address)


def test_whom_mail_may_go_to():
    assert Alarms(mail_to=("a@b.example",)).mail_to == ("a@b.example",)
    for wrong in ("", "nobody"):
        with pytest.raises(SectionError):
            Alarms(mail_to=(wrong,))


def test_posts_are_signed_and_metrics_off_unless_written(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text('[server]\nhostname = "mx.example"\n[alarms]\nwebhook = "https://h.example/"\n')
    with pytest.raises(SettingsError, match=r"alarms\.webhook_secret.*posts must be signed"):
        load(str(file), {})
    file.write_text('[server]\nhostname = "mx.example"\n')
    assert load(str(file), {}).metrics_address == ""
    assert load(str(file), {"GATEPOST_METRICS__ADDRESS": "127.0.0.1:1"}).metrics_address == "127.0.0.1:1"
    file.write_text('[server]\nhostname = "mx.example"\n[metrics]\n')
    assert load(str(file), {}).metrics_address == "127.0.0.1:9464"
