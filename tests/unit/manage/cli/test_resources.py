from __future__ import annotations

import json
import shutil
import sys
import tomllib

import pytest

from gatepost.manage.cli import resources
from gatepost.store.changes import ConfigStore

CONTOSO = """
[organization.contoso]
display_name = "Contoso Hospital"
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "ann@contoso.example" }, { address = "joe@contoso.example" }]
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
tls_settings = "encryption-only"
[[organization.contoso.outbound_connector]]
name = "lab"
recipient_domains = ["lab.example"]
"""
FABRIKAM = """
[organization.fabrikam]
accepted_domain = [{ name = "fabrikam.example" }]
"""


def apply(home, text, *words, name="resources.toml", code=0):
    return home.call("apply", "-f", home.write(text, name), *words, code=code)


def test_a_file_becomes_the_configuration(home):
    result = apply(home, CONTOSO, "--note", "first")
    assert result.stdout.splitlines()[0] == '+ organization.contoso: "Contoso Hospital"'
    assert result.stdout.splitlines()[-1].endswith("changes applied as version 1")
    version, document = home.config()
    assert version == 1
    assert document == tomllib.loads(CONTOSO)
    (change,) = home.history("organization")
    assert (change.kind, change.name, change.note, change.before) == ("organization", "contoso", "first", None)
    assert change.author


def test_nothing_to_do_is_done(home):
    apply(home, CONTOSO)
    for text in (CONTOSO, ""):
        assert apply(home, text).stdout == "nothing to change; version 1 is in force\n"
    assert len(home.history("organization")) == 1


def test_an_organization_without_anything_is_applied_once(home):
    assert apply(home, "[organization.contoso]").stdout.splitlines() == [
        '+ organization.contoso: ""',
        "1 change applied as version 1",
    ]
    assert apply(home, "[organization.contoso]").stdout == "nothing to change; version 1 is in force\n"
    assert apply(home, '[organization.contoso]\ndisplay_name = "C"').stdout.splitlines() == [
        '+ organization.contoso.display_name: "C"',
        "1 change applied as version 2",
    ]


def test_other_organizations_stay_as_they_are(home):
    apply(home, CONTOSO)
    apply(home, FABRIKAM)
    apply(home, "[organization.fabrikam]")
    assert home.config()[1] == tomllib.loads(CONTOSO + "[organization.fabrikam]")


# (what is replaced in the file, by what) -> the lines that are printed
CHANGES = [
    ("Contoso Hospital", "Contoso", ['~ organization.contoso.display_name: "Contoso Hospital" -> "Contoso"']),
    ('display_name = "Contoso Hospital"\n', "", ['- organization.contoso.display_name: "Contoso Hospital"']),
    (
        'name = "contoso.example" }',
        'name = "contoso.example" }, { name = "new.example" }',
        ['+ organization.contoso.accepted_domain[\'new.example\']: {"name": "new.example"}'],
    ),
    (
        ', { address = "joe@contoso.example" }',
        "",
        ['- organization.contoso.mailbox[\'joe@contoso.example\']: {"address": "joe@contoso.example"}'],
    ),
    (
        '"encryption-only"',
        '"domain-validation"\npriority = 7',
        [
            "+ organization.contoso.outbound_connector['bank'].priority: 7",
            (
                "~ organization.contoso.outbound_connector['bank'].tls_settings:"
                ' "encryption-only" -> "domain-validation"'
            ),
        ],
    ),
    (
        '["lab.example"]',
        '["lab.example", "*.lab.example"]',
        [
            (
                "~ organization.contoso.outbound_connector['lab'].recipient_domains:"
                ' ["lab.example"] -> ["lab.example", "*.lab.example"]'
            ),
        ],
    ),
    (
        '[[organization.contoso.outbound_connector]]\nname = "lab"\nrecipient_domains = ["lab.example"]\n',
        "",
        ['- organization.contoso.outbound_connector[\'lab\']: {"name": "lab", "recipient_domains": ["lab.example"]}'],
    ),
]


@pytest.mark.parametrize(("old", "new", "lines"), CHANGES, ids=[old[:20] for old, _, _ in CHANGES])
def test_what_changes_is_said_by_name(home, old, new, lines):
    apply(home, CONTOSO)
    assert old in CONTOSO
    changed = CONTOSO.replace(old, new)
    dry = apply(home, changed, "--dry-run").stdout.splitlines()
    assert dry[: len(lines) + 1] == [*lines, ""]
    assert dry[-2:] == ["", f"{len(lines)} change{'s' * (len(lines) != 1)}, not applied (--dry-run)"]
    assert home.config() == (1, tomllib.loads(CONTOSO))
    assert apply(home, changed).stdout.splitlines() == [
        *lines,
        f"{len(lines)} change{'s' * (len(lines) != 1)} applied as version 2",
    ]
    assert home.config() == (2, tomllib.loads(changed))


def test_the_order_of_connectors_is_no_change_of_theirs(home):
    apply(home, CONTOSO)
    heading = "[[organization.contoso.outbound_connector]]\n"
    head, bank, lab = CONTOSO.split(heading)
    assert apply(home, f"{head}{heading}{lab}{heading}{bank}").stdout == "nothing to change; version 1 is in force\n"


def test_for_machines(home):
    first = json.loads(apply(home, FABRIKAM, "--dry-run", "--json").stdout)
    assert (first["version"], first["dry_run"]) == (0, True)
    domain = [{"name": "fabrikam.example"}]
    assert first["changes"] == [
        {"sign": "+", "field": "organization.fabrikam", "before": None, "after": ""},
        {
            "sign": "+",
            "field": "organization.fabrikam.accepted_domain['fabrikam.example']",
            "before": None,
            "after": domain[0],
        },
    ]
    assert home.config() == (0, {})
    assert first.pop("blast_radius")["recipients"] == ["*", "fabrikam.example"]
    assert json.loads(apply(home, FABRIKAM, "--json").stdout) == first | {
        "version": 1,
        "dry_run": False,
        "blast_radius": None,
    }
    again = json.loads(apply(home, FABRIKAM, "--json").stdout)
    assert (again["version"], again["dry_run"], again["changes"]) == (1, False, [])


WRONG = """
[organization.contoso]
colour = "red"
message_expiration = "soon"
accepted_domain = [{ name = "contoso.example" }, { name = "not a domain" }]
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
tls_domain = "bank.example"
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["other.example"]
use_mx_record = false
"""


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--json",)])
def test_every_error_is_named_at_once_and_nothing_is_changed(home, words):
    apply(home, FABRIKAM)
    result = apply(home, WRONG + CONTOSO.replace("contoso", "northwind"), *words, code=2)
    assert result.stdout == ""
    *lines, summary = result.stderr.splitlines()
    assert summary == f"{len(lines)} error{'s' * (len(lines) != 1)}; nothing was changed"
    file = home.path / "resources.toml"
    fields = [line.removeprefix(f"{file}: organization.contoso.").partition(": ")[0] for line in lines]
    assert sorted(fields) == [
        "accepted_domain[1] 'not a domain'.name",
        "colour",
        "message_expiration",
        "outbound_connector[0] 'bank'.tls_domain",
        "outbound_connector[1] 'bank'.name",
        "outbound_connector[1] 'bank'.use_mx_record",
    ]
    assert home.config() == (1, tomllib.loads(FABRIKAM))


UNREADABLE = {
    "not TOML": (
        "a.toml",
        b"[organization\n",
        "{file}:1: not TOML, at column 14: the name of a table is not closed; write ] behind it; ",
    ),
    "not JSON": ("a.json", b'{"organization": }', "{file}: not readable as JSON: "),
    "not UTF-8": ("a.toml", b"# \xff\n", "{file}: not readable as TOML: "),
    "no suffix": (
        "resources",
        b"[organization\n",
        "{file}:1: not TOML, at column 14: the name of a table is not closed; write ] behind it; ",
    ),
    "a list": ("a.json", b"[1, 2]", "{file}: not a table of resources (docs/resources.md shows one); "),
    "a number": ("a.json", b"5", "{file}: not a table of resources (docs/resources.md shows one); "),
    "no tables": ("a.toml", b"organization = 5", "{file}: organization must be tables like [organization.contoso]; "),
    "no list of tables": ("a.toml", b"[[organization]]\nname = 'x'", "{file}: organization must be tables like "),
}


@pytest.mark.parametrize(("name", "content", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_changes_nothing(home, name, content, said):
    file = home.path / name
    file.write_bytes(content)
    result = home.call("apply", "-f", file, code=2)
    assert result.stderr.startswith(said.format(file=file))
    assert result.stderr.endswith("; nothing was changed\n")
    assert result.stdout == ""
    assert home.config() == (0, {})


def test_a_file_that_is_not_there_is_wrong_use(home):
    assert "does not exist" in home.call("apply", "-f", home.path / "missing.toml", code=2).stderr
    assert "Missing option" in home.call("apply", code=2).stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads a file that Linux refuses to read")
def test_a_file_that_the_system_does_not_give(home):
    (home.path / "loop.toml").symlink_to("/proc/self/mem")
    result = home.call("apply", "-f", home.path / "loop.toml", code=2)
    assert result.stderr == f"{home.path / 'loop.toml'}: Input/output error; nothing was changed\n"


@pytest.mark.parametrize("place", ["/dev/zero", "-"])
def test_a_file_without_an_end_is_read_to_its_bound(home, monkeypatch, place):
    monkeypatch.setattr(resources, "_MOST_BYTES", 1 << 20)
    result = home.call("apply", "-f", place, code=2, given=bytes((1 << 20) + 1) if place == "-" else None)
    assert result.stderr == f"{place}: larger than 1 MiB, too large for a configuration; split it\n"


def test_traps_are_warned_of_and_applied_all_the_same(home):
    for words in (("--dry-run",), ()):
        warned = apply(home, CONTOSO, *words).stderr
        assert warned.startswith("warning: accepted domain contoso.example of contoso: there is no postmaster@")
    assert home.config()[0] == 1


def test_traps_that_were_there_before_are_told_apart(home):
    apply(home, CONTOSO)
    more = CONTOSO.replace('name = "lab"', 'name = "lab"\ntls_settings = "domain-validation"')
    new, before = apply(home, more, "--dry-run").stderr.splitlines()
    assert new.startswith("warning: outbound connector 'lab' of contoso: without tls_domain")
    assert before.startswith("warning, as before: accepted domain contoso.example of contoso: there is no postmaster@")


def test_many_traps_that_were_there_before_are_cut_short(home):
    domains = "".join(f'[[organization.many.accepted_domain]]\nname = "d{n}.example"\n' for n in range(30))
    boxes = "".join(f'[[organization.many.mailbox]]\naddress = "a@d{n}.example"\n' for n in range(30))
    assert len(apply(home, "[organization.many]\n" + domains + boxes).stderr.splitlines()) == 30
    lines = apply(home, '[organization.many]\ndisplay_name = "M"\n' + domains + boxes).stderr.splitlines()
    assert (len(lines), lines[-1]) == (21, "10 more warnings, as before")


def test_a_stored_configuration_that_cannot_be_read_cannot_be_compared(home):
    store = ConfigStore(home.data / "config.db")
    store.apply({"organization": {"contoso": {"of_a_newer_version": True}}}, author="the future")
    store.close()
    result = apply(home, CONTOSO, "--dry-run", code=3)
    assert "cannot compare them" in result.stderr
    assert apply(home, CONTOSO).stdout.splitlines()[-1].endswith("applied as version 2")


def test_a_change_made_meanwhile_by_somebody_else_is_not_undone(home, monkeypatch):
    apply(home, CONTOSO)
    other = {"organization": {"contoso": {"display_name": "Changed meanwhile"}}}

    load = ConfigStore.load

    def and_another(store, *kinds):
        """Comes between reading and writing."""
        found = load(store, *kinds)
        store.apply(other, author="somebody else")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(ConfigStore, "load", and_another)
        result = apply(home, CONTOSO.replace("Hospital", "Clinic"), code=1)
    assert result.stderr.splitlines()[-1] == "the configuration is at version 2, not 1: look again, then change it"
    assert home.config() == (2, other)


@pytest.mark.parametrize("command", [("apply", "-f", "FILE"), ("export",)])
def test_a_configuration_that_cannot_be_opened_is_not_known(home, command):
    file = home.write(FABRIKAM)
    words = [file if word == "FILE" else word for word in command]
    home.settings(server={"hostname": "mx.gate.example", "data_dir": str(file / "below")})
    assert str(file) in home.call(*words, code=3).stderr
    home.settings()
    home.data.mkdir()
    (home.data / "config.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    result = home.call(*words, code=3)
    assert result.stdout == ""
    assert str(home.data) in result.stderr


@pytest.mark.parametrize("form", ["toml", "json"])
def test_what_is_exported_can_be_applied(home, form):
    apply(home, CONTOSO + FABRIKAM + "[organization.northwind]\n")
    before = home.config()
    words = ("--json",) if form == "json" else ()
    exported = home.call("export", *words).stdout
    assert apply(home, exported, name=f"back.{form}").stdout == "nothing to change; version 1 is in force\n"
    shutil.rmtree(home.data)
    apply(home, exported, name=f"back.{form}")
    assert home.config() == before


def test_before_anything_was_applied_nothing_is_exported(home):
    assert home.call("export").stdout == ""
    assert home.json("export") == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 200_000, "it is nested too deeply"),
        ('{"organization": ' + "9" * 5000 + "}", "a number in it is too long"),
    ],
)
def test_json_that_is_too_deep_or_has_a_number_that_is_too_long(home, text, why):
    file = home.write(text, "resources.json")
    said = home.call("apply", "-f", file, code=2).stderr
    assert said.startswith(f"{file}: not readable as JSON: ")
    assert why in said
    assert said.endswith("nothing was changed\n")
