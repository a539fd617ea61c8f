from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatepost.settings import loader
from gatepost.settings.loader import load
from gatepost.settings.problem import SettingsError

GOOD = '[server]\nhostname = "mx.example"\n'
HOSTNAME = {"GATEPOST_SERVER__HOSTNAME": "mx.example"}


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The default places, moved out of the way of this machine's own settings."""
    found = tmp_path / "etc.toml", tmp_path / "here.toml"
    monkeypatch.setattr(loader, "DEFAULT_PATHS", found)
    return found


def written(directory: Path, text: str, name: str = "g.toml") -> str:
    source = directory / name
    source.write_text(text, encoding="utf-8")
    return str(source)


def problems_of(path: str | None, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load(path, environment or {})
    assert str(refused.value) == "\n".join(map(str, refused.value.problems))
    return list(map(str, refused.value.problems))


def test_the_file_named_goes_before_the_variable_and_that_before_the_default_places(
    tmp_path: Path, places: tuple[Path, Path]
) -> None:
    named = written(tmp_path, GOOD.replace("mx", "named"))
    variable = {"GATEPOST_CONFIG": written(tmp_path, GOOD.replace("mx", "variable"), "v.toml")}
    places[1].write_text(GOOD.replace("mx", "here"), encoding="utf-8")
    assert load(named, variable).server.hostname == "named.example"
    assert load(None, variable).server.hostname == "variable.example"
    assert load(None, {}).server.hostname == "here.example"
    places[0].write_text(GOOD.replace("mx", "etc"), encoding="utf-8")
    assert load(None, {}).server.hostname == "etc.example"


TRUSTED = {
    # [dns] -> the beginning of what is wrong with its first line, "" for nothing
    'nameservers = ["192.0.2.53", "127.0.0.1"]\ntrusted = ["192.0.2.53"]': "",
    'nameservers = ["[2001:db8::53]:5300"]\ntrusted = ["2001:DB8:0::53"]': "",
    'trusted = ["192.0.2.53"]': "dns.trusted[0]: 192.0.2.53 is not in dns.nameservers; add it there, or remove it",
    'trusted = ["ns.example"]': "dns.trusted[0]: 'ns.example' is not an IP address; write it without port",
    'trusted = ["127.0.0.1:53"]': "dns.trusted[0]: '127.0.0.1:53' is not an IP address; write it without port",
    'trust_ad = false\ntrusted = ["127.0.0.1"]': "dns.trusted: this has no effect with trust_ad = false; remove one",
    'validate = "local"\ntrusted = ["127.0.0.1"]': 'dns.trusted: this has no effect with validate = "local"; remove',
    'validate = "remote"': "dns.validate: ",
    'validation = "local"': "dns.validation: ",
}


@pytest.mark.parametrize(("text", "begin"), TRUSTED.items(), ids=range(len(TRUSTED)))
def test_who_is_believed_about_dnssec(tmp_path: Path, text: str, begin: str) -> None:
    path = written(tmp_path, f"{GOOD}[dns]\n{text}\n")
    if not begin:
        assert load(path, {}).dns.trusted in {("192.0.2.53",), ("2001:db8::53",)}
        return
    (problem,) = problems_of(path)
    assert problem.split(": ", 1)[1].startswith(begin)


def test_who_validates_and_by_which_key(tmp_path: Path) -> None:
    path = written(tmp_path, f'{GOOD}[dns]\nvalidate = "local"\ntrust_anchor_file = "root.key"\n')
    dns = load(path, {}).dns
    assert (dns.validation, dns.trust_anchor_file) == ("local", str(tmp_path / "root.key"))
    assert "nameservers" not in dns.written
    assert load(path, {"GATEPOST_DNS__VALIDATE": "nameserver"}).dns.validation == "nameserver"


def test_a_key_under_the_wrong_heading_is_told_where_it_belongs(tmp_path: Path) -> None:
    path = written(tmp_path, f'data_dir = "/x"\n{GOOD}role = "mx"\n[dns]\nhostname = "x"\nxx = 1\n')
    unknown = {problem.split(": unknown key, it would have no effect; ")[1][:25] for problem in problems_of(path)}
    assert unknown == {"write it under [server]", "write it under [[listener", "known here: attempts, nam"}


def test_the_environment_alone_may_do() -> None:
    assert load(None, HOSTNAME).server.hostname == "mx.example"


def test_without_a_file_it_is_said_where_one_was_looked_for(places: tuple[Path, Path]) -> None:
    text = (
        f"no settings file: looked for {places[0]}, {places[1]}; name one with --config or GATEPOST_CONFIG, or make "
        "one: gatepost quickstart"
    )
    assert problems_of(None) == [text]
    first, second = problems_of(None, {"GATEPOST_SERVER__DRAIN": "x", **HOSTNAME})
    assert first == text
    assert "GATEPOST_SERVER__DRAIN" in second


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path, GOOD + 'workers = 2\n[limits]\nerrors = 5\n[[listener]]\nrole = "mx"\naddress = "[::]:25"\n'
    )
    own = load(path, {"GATEPOST_SERVER__WORKERS": "7", "GATEPOST_LIMITS__HOPS": "50", "GATEPOST_LISTENER": "[]"})
    assert (own.server.hostname, own.server.workers) == ("mx.example", 7)
    assert (own.limits.errors, own.limits.hops) == (5, 50)
    assert own.listeners == ()


def test_a_file_may_be_json(tmp_path: Path) -> None:
    document = {"server": {"hostname": "mx.example"}, "listener": [{"role": "mx", "address": "0.0.0.0:25"}]}
    own = load(written(tmp_path, json.dumps(document), "g.json"), {})
    assert own.listeners[0].address == "0.0.0.0:25"


def test_relative_paths_of_a_file_start_at_its_directory(tmp_path: Path) -> None:
    text = GOOD + (
        'data_dir = "data"\n[tls]\ntrust_anchors = "roots.pem"\n[[certificate]]\nchain = "c.pem"\nkey = "/etc/k.pem"\n'
    )
    own = load(written(tmp_path, text), {})
    assert own.server.data_dir == str(tmp_path / "data")
    assert own.tls.trust_anchors == str(tmp_path / "roots.pem")
    assert (own.certificates[0].chain, own.certificates[0].key) == (str(tmp_path / "c.pem"), "/etc/k.pem")
    assert load(written(tmp_path, GOOD + '[tls]\ntrust_anchors = "system"'), {}).tls.trust_anchors == "system"
    assert load(None, HOSTNAME | {"GATEPOST_SERVER__DATA_DIR": "data"}).server.data_dir == "data"


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ('[server]\nhostname = "x\n', "g.toml", ":2: not TOML, at "),
        (
            "[server]\nhostname = mx.example\n",
            "g.toml",
            ":2: not TOML, at column 12: this is not a value; text stands in quotes",
        ),
        ("[server]\nhostname = ", "g.toml", ":2: not TOML, at "),
        ("[server\n", "g.toml", ":1: not TOML, at "),
        ('{"server": \n nonsense}', "g.json", ":2: not JSON, at column 2: Expecting value"),
        ("[]", "g.json", ": not settings: sections with keys are needed"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_named_with_the_line(
    tmp_path: Path, text: str, name: str, problem: str
) -> None:
    path = written(tmp_path, text, name)
    (found,) = problems_of(path)
    assert found.startswith(path + problem)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.toml")
    assert problems_of(absent) == [
        f"{absent}: cannot be read: No such file or directory; check the path and its permissions"
    ]
    assert problems_of(None, {"GATEPOST_CONFIG": absent})[0].startswith(absent)
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    assert problems_of(str(tmp_path / "latin.toml"))[0].endswith("not UTF-8 at byte 5; save it as UTF-8")
    for ending, before in (("json", '{"queue": '), ("toml", "queue = ")):
        extreme = tmp_path / f"extreme.{ending}"
        extreme.write_text(before + "[" * 100_000)
        assert problems_of(str(extreme))[0].endswith(
            "lists and tables are nested too deeply; name the file with the settings"
        )
        extreme.write_text(before + "1" * 5_000 + "}" * (ending == "json"))
        assert problems_of(str(extreme))[0].endswith(
            "a number has thousands of digits; name the file with the settings"
        )
    assert problems_of("/dev/zero") == ["/dev/zero: larger than 4194304 bytes; name the file with the settings"]


def test_every_problem_is_told_with_its_line_or_variable(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[server]\nhostname = "a b"\nworkerz = 1\n[limits]\nrecipients = 5\n'
        '[[listener]]\nrole = "mx"\naddress = "127.0.0.1"\n[quue]\n',
    )
    environment = {
        "GATEPOST_QUEUE__RETRY": '["15m", "x"]',
        "GATEPOST_DNS__TRUST_AD": "maybe",
        "GATEPOST_SERVER__WORKRES": "1",
        "GATEPOST_CERTIFICATE": '[{"chain": "a"}]',
    }
    found = [problem.split(": ")[:2] for problem in problems_of(path, environment)]
    assert found == [
        ["GATEPOST_SERVER__WORKRES", "key 'workres'"],
        [f"{path}:2", "server.hostname"],
        [f"{path}:3", "server.workerz"],
        [f"{path}:8", "listener[0].address"],
        ["GATEPOST_DNS__TRUST_AD", "'maybe' must be true or false, without quotes"],
        ["GATEPOST_CERTIFICATE", "certificate[0].key"],
        [f"{path}:5", "limits.recipients"],
        ["GATEPOST_QUEUE__RETRY", "queue.retry[1]"],
        [f"{path}:9", "quue"],
    ]


def test_where_no_line_is_known_the_file_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, '{"server": {"hostname": "a b"}}', "g.json")
    assert problems_of(path)[0].startswith(f"{path}: server.hostname: ")
    assert problems_of(written(tmp_path, ""))[0].endswith("g.toml: server: is required: it has no default")


@pytest.mark.parametrize("text", ["server = 5", "tls = 5", "certificate = 5", "certificate = [5]", "listener = {}"])
def test_sections_of_the_wrong_kind_are_problems(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text + "\n")
    assert any(
        problem.startswith(f"{path}:1: {text.split(' ', maxsplit=1)[0]}")
        for problem in problems_of(path, HOSTNAME | {})
    )


KEYED = '[store]\nmaster_key = "env:KEY"\n'
LISTEN = '[[listener]]\nrole = "{}"\naddress = "{}"\n'
CERTIFICATE = '[[certificate]]\nchain = "/c"\nkey = "/k"\n'
SEALED = '[store]\nmaster_key = "env:KEY"\n'
NODE = '[[site.node]]\nname = "{}"\naddress = "{}"\n'


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            LISTEN.format("mx", "0.0.0.0:25") * 2,
            [":5: listener[0].address: 0.0.0.0:25 is used", ":8: listener[1].address"],
        ),
        (LISTEN.format("mx", "127.0.0.1:8443"), [":5: listener[0].address", ": admin.address"]),
        (LISTEN.format("mx", "127.0.0.1:0") * 2, []),
        ('[mta_sts]\naddress = "0.0.0.0:443"\n', [":4: mta_sts.address: policies are served over HTTPS"]),
        ('[mta_sts]\naddress = "0.0.0.0:443"\n' + KEYED, []),
        ('[certificate_table]\naddress = "0.0.0.0:443"\n', []),
        ('[certificate_table]\naddress = "443"\n', [":4: certificate_table.address: '443' needs a port"]),
        (
            '[certificate_table]\naddress = "127.0.0.1:8443"\n',
            [": admin.address", ":4: certificate_table.address: 127.0.0.1:8443 is used"],
        ),
        (
            '[certificate_table]\naddress = "0.0.0.0:443"\n[mta_sts]\naddress = "0.0.0.0:443"\n' + KEYED,
            [],
        ),
        ('[mta_sts]\naddress = "443"\n', [":4: mta_sts.address: '443' needs a port"]),
        ('[mta_sts]\naddress = ""\n', []),
        (
            "[tls_reports]\nsend = true\n",
            [
                ":3: tls_reports.organization_name: it is needed with send = true",
                ":3: tls_reports.contact",
                ":3: tls_reports.mail_from",
            ],
        ),
        (
            '[tls_reports]\nsend = true\norganization_name = "x"\ncontact = "x"\nmail_from = "tls@contoso.example"\n',
            [],
        ),
        ('[tls_reports]\nmail_from = "tls"\n', [":4: tls_reports.mail_from: 'tls'"]),
        ('[tls_reports]\nmail_from = "tls@[192.0.2.1]"\n', [":4: tls_reports.mail_from: 'tls@[192.0.2.1]': an ASCII"]),
        (
            '[tls_reports]\nmail_from = "é@contoso.example"\n',
            [":4: tls_reports.mail_from: 'é@contoso.example': an ASCII"],
        ),
        ('[tls_reports]\nmail_from = ""\n', []),
        ('[site]\naddress = "127.0.0.1:8444"\n', [": store.master_key: the key of the site's authority"]),
        ('[site]\naddress = "8444"\n', [":4: site.address: '8444' needs a port"]),
        ('[site]\naddress = "127.0.0.1:8444"\n[store]\nmaster_key = "file:/k"\n', []),
        ('[site]\nnode_lifetime = "5s"\n', [":4: site.node_lifetime"]),
        (
            '[store]\nworker_url = "postgresql://w@127.0.0.1/a"\n',
            [":4: store.worker_url: is for PostgreSQL, and store.url is sqlite:"],
        ),
        (
            '[store]\nurl = "postgresql://a@127.0.0.1/a"\nworker_url = "postgresql:///a?user=a&host=/run"\n',
            [":5: store.worker_url: has the role of store.url"],
        ),
        ('[store]\nurl = "postgresql://a@127.0.0.1/a"\nworker_url = "postgresql://w@127.0.0.1/a"\n', []),
        (
            '[mta_sts]\naddress = "127.0.0.1:8443"\n[[certificate]]\nchain = "/c"\nkey = "/k"\n',
            [": admin.address", ":4: mta_sts.address: 127.0.0.1:8443 is used"],
        ),
        (
            LISTEN.format("mx", "localhost:25")
            + LISTEN.format("mx", "127.0.0.1:25")
            + 'proxy_protocol_from = ["192.0.2.7"]\n',
            [":5: listener[0].address: port 25 has listeners with several proxies; write each with its IP address"],
        ),
        (
            LISTEN.format("submission", "127.0.0.1:25") + 'xclient_from = ["192.0.2.7"]\n' + CERTIFICATE,
            [":6: listener[0].xclient_from: XCLIENT is for mail from other servers"],
        ),
        (
            LISTEN.format("mx", "127.0.0.1:25") + 'proxy_protocol_from = ["0.0.0.0/0"]\n',
            [":6: listener[0].proxy_protocol_from[0]: 0.0.0.0/0 is too wide: any host in it could say who it is"],
        ),
        (
            LISTEN.format("mx", "127.0.0.1:25") + 'proxy_protocol_from = ["10.0.0.0/8", "2001:db8::/32"]\n',
            [],
        ),
        (
            LISTEN.format("mx", "localhost:25") + LISTEN.format("submission", "127.0.0.1:25") + CERTIFICATE,
            [":5: listener[0].address: port 25 has listeners of several roles; write each with its IP address"],
        ),
        (LISTEN.format("mx", "127.0.0.2:25") + LISTEN.format("submission", "127.0.0.1:25") + CERTIFICATE, []),
        (LISTEN.format("mx", "localhost:25") + LISTEN.format("submission", "localhost:26") + CERTIFICATE, []),
        (LISTEN.format("internal", "0.0.0.0:8445"), [":4: listener[0].role: internal needs a certificate of the site"]),
        (LISTEN.format("internal", "0.0.0.0:8445") + SEALED, []),
        (NODE.format("mx2.a.example", "192.0.2.7"), []),
        (
            NODE.format("mx2.a.example", "192.0.2.7") + NODE.format("MX2.a.example", "[2001:db8::1]:2600"),
            [":4: site.node[0].name: mx2.a.example has more", ":7: site.node[1].name: mx2.a.example has more"],
        ),
        (NODE.format("mx2.a.example", "mx2:0"), [":5: site.node[0].address"]),
        ('[[site.node]]\nname = "mx2.a.example"\nsame_store = ["mx3.a.example"]\n', []),
        (
            NODE.format("mx2.a.example", "192.0.2.7") + 'same_store = ["mx3.a.example", "MX2.a.example"]\n',
            [":6: site.node[0].same_store: name each of the other nodes"],
        ),
        (
            NODE.format("mx2.a.example", "192.0.2.7") + 'same_store = ["mx3.a.example", "MX3.a.example"]\n',
            [":6: site.node[0].same_store: name each of the other nodes"],
        ),
        (LISTEN.format("submissions", "0.0.0.0:465"), [":4: listener[0].role: submissions needs TLS"]),
        (LISTEN.format("submission", "0.0.0.0:587"), [":4: listener[0].role: submission needs TLS"]),
        (LISTEN.format("submission", "0.0.0.0:587") + '[[certificate]]\nchain = "/c"\nkey = "/k"\n', []),
        (LISTEN.format("submission", "0.0.0.0:587") + '[[certificate]]\nchain = "/c"\n', [":6: certificate[0].key"]),
    ],
)
def test_sections_fit_together(tmp_path: Path, text: str, problems: list[str]) -> None:
    path = written(tmp_path, GOOD + text)
    if not problems:
        assert load(path, {})
        return
    found = problems_of(path)
    assert len(found) == len(problems)
    assert all(one.startswith(path + problem) for one, problem in zip(found, problems, strict=True))
