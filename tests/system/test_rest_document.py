"""Proves that no call is answered with what the OpenAPI document does not say, and none by a failure of ours.

schemathesis makes requests of the document that a gateway serves, right ones and wrong ones, and holds every answer
against it: status, media type, body, header fields. In `make test` with the same few requests of an owner each time; in
`make test-all` with more, of another seed each time; `make fuzz-rest` does it for as long as one likes (GATEPOST_FUZZ=N
examples for each call).
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.admin import AdminCentre, served
from support.gateway import Gateway
from support.process import BIN, ROOT
from support.scenes import connector, contoso, send

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "unsupported_method", "allow_header_conformance", "ignored_auth",
)  # fmt: skip
EXAMPLES = int(os.environ.get("GATEPOST_FUZZ", "0"))
SAME, OTHERS = "1", str(secrets.randbelow(10**9))


def _limits(*tags: str) -> list[str]:
    """The limits of each field, in calls of these tags alone. All kinds of parts have the same six calls."""
    return ["--phases", "coverage", *(word for tag in tags for word in ("--include-tag", tag))]


def _any(examples: int) -> list[str]:
    return ["--phases", "examples,fuzzing", "--max-examples", str(examples)]


LIMITS = () if EXAMPLES else ("status", "resources", "organizations", "outbound connectors", "queue", "trace")
LONG = pytest.mark.long
RUNS = [
    pytest.param("owner", SAME, _any(1), id="some-owner", marks=pytest.mark.short),
    pytest.param("owner", OTHERS, _any(EXAMPLES or 8), id="any-owner", marks=LONG),
    pytest.param("tenant", OTHERS, _any(EXAMPLES or 8), id="any-tenant", marks=LONG),
    pytest.param("owner", OTHERS, _limits(*LIMITS), id="limits-owner", marks=LONG),
]
if EXAMPLES:  # of an organization that is not there for it, refusals are among any
    RUNS.append(pytest.param("tenant", OTHERS, _limits(), id="limits-tenant", marks=LONG))


@pytest.mark.timeout(36_000 if EXAMPLES else 1200)
@pytest.mark.parametrize(("who", "seed", "options"), RUNS)
def test_every_answer_is_in_the_document(
    gateway: Callable[..., Gateway], tmp_path: Path, who: str, seed: str, options: list[str]
) -> None:
    resources = contoso(outbound=[connector("partner.example", "127.0.0.1:9")])
    resources["organization"]["fabrikam"] = {"accepted_domain": [{"name": "fabrikam.example"}]}
    centre = served(gateway, resources)
    send(centre.gateway.port, ["ann@contoso.example", "bob@partner.example"])
    centre.gateway.wait_trace(recipient="bob@partner.example", event="DEFER")
    done = _tried(centre, _token(centre, who), tmp_path, ["--seed", seed, *options])
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert "No operations" not in done.stdout


def _token(centre: AdminCentre, who: str) -> str:
    """tenant: of another organization, so that what is in the document is not there for it."""
    if who == "owner":
        return centre.token()
    return centre.token("read", "connectors", "queue", organizations=("fabrikam",))


def _tried(centre: AdminCentre, token: str, folder: Path, options: list[str]) -> subprocess.CompletedProcess[str]:
    document = folder / "openapi.json"
    document.write_text(json.dumps(centre.call("/api/v1/openapi.json", token)[2]))
    command: list[str | Path] = [
        BIN / "schemathesis", "--config-file", ROOT / "tests" / "system" / "schemathesis.toml", "run", document,
        "--url", f"{centre.url}/api/v1", "--header", f"Authorization: Bearer {token}", "--tls-verify", "false",
        "--checks", ",".join(CHECKS), "--continue-on-failure", "--no-shrink", "--warnings", "off",
        "--suppress-health-check", "all", "--generation-database", "none", *options,
    ]  # fmt: skip
    kept = os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis")}  # its tables of characters
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=kept, timeout=35_000, check=False)
