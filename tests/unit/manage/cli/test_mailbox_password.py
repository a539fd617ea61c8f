from __future__ import annotations

from click.testing import CliRunner

from gatepost.mail.inbound.credentials import Credential, content_name
from gatepost.manage.cli import main
from gatepost.policy.logins.passwords import verify
from gatepost.store.changes import ConfigStore

WORD = "correct horse"
BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "Ann@contoso.example" }]
[organization.fabrikam]
accepted_domain = [{ name = "fabrikam.example" }]
"""


def call(home, *words, given=WORD, code=0):
    command = ["--config", str(home.file), "mailbox", "password", *words]
    result = CliRunner().invoke(main, command, input=f"{given}\n")
    assert result.exit_code == code, result.output
    return result


def stored(home, address="ann@contoso.example"):
    store = ConfigStore(home.data / "config.db")
    try:
        return Credential.decode(store.content(content_name(address)))
    finally:
        store.close()


def everything(home):
    return (
        home.call("export").stdout
        + home.call("history").stdout
        + home.call("mailbox", "show", "ann@contoso.example").stdout
    )


def test_setting_and_removing(home):
    home.call("apply", "-f", home.write(BASE))
    assert call(home, "ANN@contoso.example", "--stdin").stderr == "Ann@contoso.example: password set\n"
    credential = stored(home)
    assert credential.organization == "contoso"
    assert verify(WORD, credential.argon2)
    shown = everything(home)
    assert WORD not in shown
    assert "argon2" not in shown
    call(home, "ann@contoso.example", "--stdin", given="another word")
    assert verify("another word", stored(home).argon2)
    assert call(home, "ann@contoso.example", "--remove").stderr == "Ann@contoso.example: password removed\n"
    assert stored(home) is None


def test_what_is_refused(home):
    home.call("apply", "-f", home.write(BASE))
    assert "no mailbox 'eve@contoso.example'" in call(home, "eve@contoso.example", "--stdin", code=2).stderr
    assert "at least 8 are needed" in call(home, "ann@contoso.example", "--stdin", given="short", code=2).stderr
    assert "no terminal" in call(home, "ann@contoso.example", code=2).stderr
    assert "one of them" in call(home, "ann@contoso.example", "--stdin", "--remove", code=2).stderr
    assert stored(home) is None


def test_it_goes_with_the_mailbox(home):
    home.call("apply", "-f", home.write(BASE))
    call(home, "ann@contoso.example", "--stdin")
    home.call("mailbox", "remove", "ann@contoso.example")
    assert stored(home) is None
    home.call("apply", "-f", home.write(BASE))
    call(home, "ann@contoso.example", "--stdin")
    home.call("apply", "-f", home.write(BASE))
    assert stored(home) is not None
    moved = BASE.replace('mailbox = [{ address = "Ann@contoso.example" }]', "")
    home.call("apply", "-f", home.write(moved))
    assert stored(home) is None
