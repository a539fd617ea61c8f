"""The bill of materials names what the locks name, and every licence is one that fits Apache-2.0."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# GPL and AGPL are none of them: what is delivered must stay usable under Apache-2.0.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "any-OSI",
}


@pytest.fixture(scope="module")
def bill(tmp_path_factory):
    file = tmp_path_factory.mktemp("sbom") / "gatepost.cdx.json"
    subprocess.run([sys.executable, ROOT / "scripts/licences.py", "--sbom", file], check=True)
    return json.loads(file.read_text())


def test_it_names_everything_that_is_delivered(bill):
    locked = set(re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", (ROOT / "requirements/all.txt").read_text(), re.MULTILINE))
    pages = {("htmx.org", "npm"), ("lucide-static", "npm")}
    named = {(one["name"], one["version"]) for one in bill["components"] if one["purl"].startswith("pkg:pypi/")}
    assert named == locked
    assert {(one["name"], one["purl"][4:7]) for one in bill["components"][len(locked) :]} == pages
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert set(bill["dependencies"][0]["dependsOn"]) == {one["bom-ref"] for one in bill["components"]}


def test_every_licence_fits(bill):
    for one in bill["components"]:
        (licence,) = one["licenses"]
        text = licence.get("expression") or licence["license"]["name"]
        assert set(re.split(r" (?:AND|OR) ", text)) <= ALLOWED, one["name"]


def test_what_all_extras_pin_is_what_the_tests_run(bill):
    tested = (ROOT / "requirements/dev.txt").read_text()
    for one in (one for one in bill["components"] if one["purl"].startswith("pkg:pypi/")):
        assert re.search(rf"^{re.escape(one['name'])}=={re.escape(one['version'])}[ ;\\]", tested, re.MULTILINE)
