from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gatepost.manage.cli.connector_options import connector_options, stored_directory
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.loader import load
from gatepost.store.changes import ConfigStore


@click.command()
@connector_options
def about(name, direction, organization):
    click.echo((name, direction, organization))


def asked(*words):
    return CliRunner().invoke(about, words)


def test_what_tells_connectors_apart():
    assert asked("bank in").output == "('bank in', None, '')\n"
    both = asked("--direction", "outbound", "--organization", "contoso", "bank").output
    assert both == "('bank', 'outbound', 'contoso')\n"
    assert asked("--", "--bank").output == "('--bank', None, '')\n", "a name may begin with a dash"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Missing argument 'NAME'"),
        (("a", "b"), "unexpected extra argument"),
        (("--direction", "sideways", "a"), "'inbound', 'outbound'"),
    ],
)
def test_wrong_use(words, told):
    result = asked(*words)
    assert result.exit_code == 2
    assert told in result.output


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text('[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n', encoding="utf-8")
    return load(str(file), {})


def stored(settings, document):
    store = ConfigStore(Path(settings.server.data_dir, "config.db"))
    store.apply(document, author="ann")
    store.close()


def test_a_gateway_that_never_ran_has_no_resources(settings):
    found = stored_directory(settings)
    assert (found.version, found.resources.organizations) == (0, ())


def test_what_is_stored(settings):
    stored(settings, {"organization": {"contoso": {"accepted_domain": [{"name": "contoso.example"}]}}})
    found = stored_directory(settings)
    assert (found.version, [one.name for one in found.resources.organizations]) == (1, ["contoso"])


def test_what_another_version_stored_is_refused(settings):
    stored(settings, {"organization": {"contoso": {"accepted_domain": [{"name": "contoso.example", "novel": 1}]}}})
    with pytest.raises(Refusal, match=r"cannot be used by this version.*novel") as refused:
        stored_directory(settings)
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_a_store_that_is_none_is_refused(settings):
    Path(settings.server.data_dir).mkdir()
    Path(settings.server.data_dir, "config.db").write_bytes(b"no database, but long enough to be taken for one" * 99)
    with pytest.raises(Refusal, match=r"config\.db") as refused:
        stored_directory(settings)
    assert refused.value.kind is RefusalKind.UNREADABLE
