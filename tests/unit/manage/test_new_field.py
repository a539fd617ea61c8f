"""One new field of a resource, and one of a use case's request and result, take at most three files.

Tried on a copy of the sources: two files change, and the form, REST, OpenAPI, the commands and the docs have the field.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COPIED = (
    "src/gatepost",
    "scripts",
    "requirements",
    "tests/conftest.py",
    "tests/unit/conftest.py",
    "tests/unit/manage",
    "tests/system/support",
)
# file: (what stands there, what is put before it), each once
PATCH = {
    "src/gatepost/policy/connectors/records.py": [
        (
            "    all_accepted_domains: Switch = Field(\n",
            '    hotline: Text = Field(default="", description="Whom to call about this connector.")\n',
        ),
    ],
    "src/gatepost/manage/use_cases/connectors.py": [
        # the request
        (
            "    q: Annotated[\n",
            '    hotline: Annotated[str, Meta(max_length=77, description="Only those with this hotline.")] = ""\n',
        ),
        # the result
        ("    validated: LastValidation | None\n", "    hotline: str\n"),
        ("        requires=_demands(connector),\n", '        hotline=getattr(connector, "hotline", ""),\n'),
        # what is done with it
        (
            "    def identity(entry: ConnectorEntry) -> str:\n",
            (
                "    if request.hotline:\n"
                "        rows = [row for row in list_page.rows if row.hotline == request.hotline]\n"
                "        list_page = list_page.holding(rows)\n\n"
            ),
        ),
    ],
}
PROBE = """
import json
import os
import runpy

from click.testing import CliRunner

import gatepost
from gatepost.manage.cli import main
from gatepost.manage.pages.fields import form_fields, texts_of
from gatepost.manage.pages.routes import HANDLERS, ROUTES
from gatepost.manage.rest.routes import ROUTES as REST
from gatepost.manage.web.application import application
from gatepost.policy.connectors.records import OutboundConnector
from tests.unit.manage.pages.conftest import *

PAGE = "/connectors/edit/contoso/outbound/bank-out"


def rest(centre, method, path, body=None, **headers):
    centre.app = application(centre.gateway, centre.accounts, [*REST, *ROUTES], HANDLERS)
    sent = b"" if body is None else json.dumps(body).encode()
    given = headers | {"content_type": "application/json", "content_length": str(len(sent))}
    answer = centre.ask(method, f"/api/v1{path}", "owner", sent, given)
    assert answer.status < 300, answer.text
    return json.loads(answer.text)


def test_copy():
    assert gatepost.__file__.startswith(os.getcwd())


def test_page(centre):
    form = centre.get(PAGE)
    assert 'name="hotline"' in form.text
    assert "Whom to call about this connector." in form.words
    texts = texts_of(form_fields(OutboundConnector), centre.stored("outbound_connector", "bank-out"))
    assert centre.post(PAGE, was=form.value("was"), **texts | {"hotline": "+49 30 1"}).status == 303
    assert centre.stored("outbound_connector", "bank-out")["hotline"] == "+49 30 1"
    assert "+49 30 1" in centre.get("/connectors/contoso/outbound/bank-out").words


def test_rest_and_commands(centre, tmp_path):
    one = "/organizations/contoso/outbound_connectors/bank-out"
    rest(centre, "PATCH", one, {"hotline": "+49 30 2"}, if_match="*")
    assert rest(centre, "GET", one)["hotline"] == "+49 30 2"
    found = rest(centre, "GET", "/connectors?hotline=%2B49%2030%202")["items"]
    assert [each["hotline"] for each in found] == ["+49 30 2"]
    file = next(tmp_path.rglob("gatepost.toml"))
    listed = CliRunner().invoke(
        main, ["--config", str(file), "connector", "list", "--hotline", "+49 30 2", "--json"], catch_exceptions=False
    )
    assert [each["hotline"] for each in json.loads(listed.stdout)] == ["+49 30 2"]
    words = ["connector", "set", "bank-out", "hotline=+49 30 3"]
    changed = CliRunner().invoke(main, ["--config", str(file), *words], catch_exceptions=False)
    assert changed.exit_code == 0, changed.output
    shown = CliRunner().invoke(main, ["--config", str(file), "connector", "show", "bank-out"], catch_exceptions=False)
    assert "+49 30 3" in shown.stdout
    said = CliRunner().invoke(main, ["connector", "list", "--help"]).output
    assert "--hotline TEXT" in said
    assert "Only those with this hotline." in said


def test_limit(centre):
    centre.app = application(centre.gateway, centre.accounts, [*REST, *ROUTES], HANDLERS)
    assert centre.ask("GET", f"/api/v1/connectors?hotline={'x' * 78}", "owner", b"", {}).status == 422


def test_openapi(centre):
    document = rest(centre, "GET", "/openapi.json")
    listing = document["paths"]["/connectors"]["get"]
    (parameter,) = [each for each in listing["parameters"] if each["name"] == "hotline"]
    assert (parameter["description"], parameter["schema"]["maxLength"]) == ("Only those with this hotline.", 77)
    assert "hotline" in document["components"]["schemas"]["ConnectorEntry"]["properties"]
    assert "Whom to call about this connector." in json.dumps(document)


def test_docs():
    pages = {path.name: write for path, write in runpy.run_path("scripts/docs.py")["PAGES"].items()}
    assert "Whom to call about this connector." in pages["resources.md"]()
    assert "Only those with this hotline." in pages["commands.md"]()
"""


@pytest.fixture
def copy(tmp_path):
    """The sources with the patch."""
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("static"))
        else:
            shutil.copy(source, target)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("decisions", "*.png", "*.svg"))
    (tmp_path / "src/gatepost/manage/pages/static").symlink_to(ROOT / "src/gatepost/manage/pages/static")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, changes in PATCH.items():
        file = tmp_path / name
        text = file.read_text(encoding="utf-8")
        for place, added in changes:
            assert text.count(place) == 1, place
            text = text.replace(place, added + place)
        file.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.timeout(120)
def test_a_field_takes_no_more_than_three_files(copy):
    assert len(PATCH) <= 3
    probe = copy / "tests/unit/manage/pages/test_probe.py"
    probe.write_text(PROBE, encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(probe)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    paths = os.pathsep.join(map(str, (copy / "src", copy / "scripts", copy)))
    ran = subprocess.run(
        words, cwd=copy, env=environment | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
