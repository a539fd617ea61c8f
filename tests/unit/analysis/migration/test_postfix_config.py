from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.migration.postfix_config import (
    _DEFAULTS,
    Service,
    named_files,
    parse_main,
    parse_master,
    seconds,
    with_directory,
)
from gatepost.analysis.migration.report import ImportRefused

EXPANSIONS = [
    ("x = plain", "plain"),
    ("a = 1\nx = $a-${a}-$(a)", "1-1-1"),
    ("x = $$5 $ $-", "$5 $ $-"),
    ("x = $undefined.", "."),
    ("a = 1\nx = ${a?yes}${b?no}", "yes"),
    ("a = 1\nx = ${a?{yes}}${b:{no}}${a:never}", "yesno"),
    ("a = 1\nx = ${a?{yes}:{no}} ${b?{yes}:{no}} ${b?{yes}:no}", "yes no no"),
    ("a = 1\nb = $a\nx = ${c?{$b}:{$b$b}}", "11"),
    ("x = ${{1} == {1}?{same}:{other}}", "same"),
    ("x = ${{1} != {1}?{same}:{other}}", "other"),
    ("x = ${{9} < {10}?{less}}", "less"),
    ("x = ${{9} > {10}?{more}}", ""),
    ("x = ${{b} >= {a}?{yes}}${{a} <= {a}?{yes}}", "yesyes"),
    ("compatibility_level = 3.6\nx = ${{$compatibility_level} <level {2} ? {old} : {new}}", "new"),
    ("x = ${}", ""),
    ("x = ${?a}", ""),
    ("x = a\n  b\n# comment\n c", "a b c"),
    ("x = 1\nx = 2", "2"),
    ("myhostname = mx.b.example\nx = $mydomain", "b.example"),
    ("myhostname = mx\nx = $mydomain", "localdomain"),
    ("mydomain = c.example\nx = $mydomain", "c.example"),
    ("x = $mydomain", ""),
    ("myhostname = mx.b.example\nx = $mydestination", "mx.b.example, localhost.b.example, localhost"),
]


@pytest.mark.parametrize(("text", "value"), EXPANSIONS)
def test_values_are_expanded(text, value):
    assert parse_main(text)["x"] == value


def test_a_few_parameters_that_double_each_other_end():
    text = "\n".join(f"a{n} = $a{n + 1}$a{n + 1}" for n in range(35))
    assert parse_main(text)["a0"] == ""


REFUSED = [
    ("x = $x", "leads back to itself"),
    ("a = $x\nx = ${a}", "leads back to itself"),
    ("mydomain = $x\nmyhostname = a.$mydomain\nx = $myhostname", "leads back to itself"),
    ("myhostname = a.$mydomain\nx = $mydomain", "leads back to itself"),
    ("x = ${a", "line 1: x has a { that nothing closes"),
    ("\nx = $(a", "line 2: x has a ( that nothing closes"),
    ("x = ${a?{b}", "nothing closes"),
    ("a = ${b?{c}\nx = $a", "line 1: a has"),
    ("a = " + "y" * 1000 + "\n" + "\n".join(f"a{n} = $a{n + 1}$a{n + 1}" for n in range(30)) + "\na30 = $a\nx = $a0",
     "longer than"),
    ("x = ${a?{${b?{${c}}", "nothing closes"),
    ("x = ${a?{{b}", "nothing closes"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_expanded_is_refused(text, words):
    with pytest.raises(ImportRefused) as refused:
        parse_main(text)["x"]
    assert words in str(refused.value)
    assert str(refused.value).startswith("main.cf")


@pytest.mark.parametrize("text", ["nonsense", "= x", "a b = c", "a: b"])
def test_a_line_that_is_none_is_refused(text):
    with pytest.raises(ImportRefused, match=r"main\.cf, line 2: .*name = value"):
        parse_main(f"a = b\n{text}\n")


def test_lists_and_flags():
    config = parse_main("a = x, y\nb = Yes\nc = no\n")
    assert config.listed("a") == ["x", "y"]
    assert config.flag("b")
    assert not config.flag("c")
    assert not config.flag("d")
    assert config.lines == {"a": 1, "b": 2, "c": 3}


def test_master_cf():
    text = """\
# ==========
smtp      inet  n       -       y       -       -       smtpd
submission inet n       -       y       -       -       smtpd
  -o smtpd_tls_security_level=encrypt
  -o { smtpd_x=y }
short line
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name -v
"""
    smtp, submission, relay = parse_master(text)
    assert smtp == Service("smtp", "smtpd", {})
    assert submission.options == {"smtpd_tls_security_level": "encrypt", "smtpd_x": "y"}
    assert relay.options == {"syslog_name": "postfix/$service_name"}


def test_the_files_that_are_needed():
    text = """\
transport_maps = hash:$config_directory/transport, ldap:/etc/x
smtp_tls_policy_maps = proxy:lmdb:/etc/postfix/policy hash:$config_directory/transport
mynetworks = 127.0.0.0/8 $config_directory/networks
relay_domains = b.example
"""
    assert named_files(text, "/d") == ["/d/transport", "/etc/postfix/policy", "/d/networks"]
    assert named_files("config_directory = /e\n" + text, "/d")[0] == "/e/transport"
    assert with_directory(parse_main(""), "/d")["config_directory"] == "/d"


@pytest.mark.parametrize(
    ("text", "value"),
    [("5d", 432000), ("300", 300), ("1w", 604800), ("2h", 7200), ("3m", 180), ("9s", 9), ("x", None), ("1y", None)],
)
def test_times(text, value):
    assert seconds(text) == value


@pytest.mark.skipif(not shutil.which("postconf", path="/usr/sbin"), reason="Postfix is not installed")
def test_the_defaults_are_postfix_own(tmp_path: Path):
    tmp_path.joinpath("main.cf").write_text("")
    done = subprocess.run(
        ["/usr/sbin/postconf", "-c", tmp_path, "-d", *_DEFAULTS],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    theirs = dict(
        line.split(" = ", 1) if " = " in line else (line.rstrip(" ="), "") for line in done.stdout.splitlines()
    )
    assert {name: value.replace(", ", ",") for name, value in theirs.items()} == {
        name: value.replace(", ", ",") for name, value in _DEFAULTS.items()
    }


@given(st.text(alphabet="ab${}()?:=<! \n#", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        config = parse_main(f"a = {text}\nb = {text}")
        config["a"]
        named_files(f"relay_domains = {text}", "/d")
        parse_master(text)
    except ImportRefused:
        return
