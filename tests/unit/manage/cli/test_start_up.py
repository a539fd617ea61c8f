"""Commands start fast because they import only what they need. A new import at the top of a module shows here."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEVER = {
    "acme",
    "jinja2",
    "opentelemetry",
    "prometheus_client",
    "reportlab",
    "starlette",
    "tomlkit",
    "uvicorn",
    "uvloop",
    "webauthn",
}
FILES_ONLY = NEVER | {
    "OpenSSL",
    "_hashlib",
    "asyncio",
    "cryptography",
    "ctypes",
    "difflib",
    "dns",
    "gatepost.policy.connectors.record_base",
    "gatepost.policy.decisions.outbound",
    "gatepost.store.destinations",
    "h11",
    "httpcore2",
    "idna",
    "jwt",
    "pydantic",
    "pydantic_core",
    "secrets",
    "shutil",
    "socket",
    "ssl",
    "tarfile",
    "zipfile",
}
SCRIPT = """
import sys
from gatepost.manage.cli import main
try:
    main(sys.argv[1:], prog_name="gatepost")
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""


CASES = {
    "--help": FILES_ONLY - {"shutil"} | {"apsw", "msgspec"},
    "queue list": FILES_ONLY,
    "trace search": FILES_ONLY - {"idna"},
    "connector list": NEVER
    | {"OpenSSL", "asyncio", "cryptography", "dns", "gatepost.manage.use_cases.change", "ssl", "tomlkit"},
    "domain list": NEVER | {"gatepost.analysis.rehearsal", "gatepost.analysis.checks.named_files"},
    "certificate changeover status": NEVER | {"gatepost.manage.cli.check", "gatepost.manage.use_cases.partner"},
    "status": NEVER,
    "serve": NEVER - {"uvloop"}
    | {
        "dns.zonefile",
        "email.headerregistry",
        "gatepost.node.report_sending",
        "gatepost.store.schemas",
        "h11",
        "http.client",
        "httpcore2",
        "jwt",
        "statistics",
        "urllib.request",
    },  # up to where it listens, which it cannot at this address
}


MOST_MODULES = {
    "--help": 125,
    "queue list": 295,
    "trace search": 295,
    "connector list": 410,
    "domain list": 600,
    "status": 750,  # 745 on CPython 3.14
    "serve": 985,
}


@pytest.mark.parametrize("words", CASES)
def test_heavy_modules_are_not_imported(home, words):
    home.fill()
    home.settings(listener=[{"role": "mx", "address": "192.0.2.1:25"}])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "--config", str(home.file), *words.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    imported = set(done.stderr.splitlines())
    assert "gatepost.manage.cli" in imported, done.stderr
    assert imported & CASES[words] == set()
    assert len(imported) <= MOST_MODULES.get(words, len(imported)), "import at the start only what every start needs"


MOST_DATACLASSES = 3
COUNT = """
import dataclasses, sys
import gatepost.manage.cli.serve
for name in list(sys.modules):
    for kind in vars(sys.modules[name]).values() if name.startswith("gatepost") else ():
        if isinstance(kind, type) and kind.__module__ == name and "__dataclass_fields__" in vars(kind):
            print(f"{name}.{kind.__name__}")
"""


def test_what_serve_imports_makes_few_dataclasses():
    """Each takes 0.4 ms before the greeting, a struct of msgspec with the same fields a sixtieth of it."""
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    found = done.stdout.split()
    assert "gatepost.policy.connectors.names.SmartHost" in found, "what pydantic keeps remains"
    assert len(found) <= MOST_DATACLASSES, found
