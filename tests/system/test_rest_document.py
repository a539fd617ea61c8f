"""Proves that no call is answered with what the OpenAPI document does not say, and none by a failure of ours.

schemathesis makes requests of the document that a gateway serves, right ones and wrong ones, and holds every answer
against it: status, media type, body, header fields. Here for a minute, with another seed each time but in continuous
integration; `make fuzz-rest` does it for as long as one likes (GATEPOST_FUZZ=N examples for each call).
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.admin import AdminCentre, served
from support.process import BIN, ROOT
from support.scenes import connector, contoso, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.gateway import Gateway

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "unsupported_method", "allow_header_conformance", "ignored_auth",
)  # fmt: skip
EXAMPLES = int(os.environ.get("GATEPOST_FUZZ", "0"))
SEED = "1" if os.environ.get("CI") == "true" else str(secrets.randbelow(10**9))
# All kinds of parts have the same six calls; where time is short, the limits of each field are tried on one of them.
SHORT = ["status", "resources", "organizations", "outbound connectors", "queue", "trace"]
ONLY = [] if EXAMPLES else [word for tag in SHORT for word in ("--include-tag", tag)]
RUNS = {
    "any": ["--phases", "examples,fuzzing", "--max-examples", str(EXAMPLES or 8)],
    "limits": ["--phases", "coverage", *ONLY],
}  # fmt: skip


@pytest.mark.timeout(36_000 if EXAMPLES else 1200)
@pytest.mark.parametrize("who", ["owner", "tenant"])
@pytest.mark.parametrize("run", RUNS)
def test_every_answer_is_in_the_document(gateway: Callable[..., Gateway], tmp_path: Path, run: str, who: str) -> None:
    if who == "tenant" and run == "limits" and not EXAMPLES:
        pytest.skip("refusals of another organization are among any")
    resources = contoso(outbound=[connector("partner.example", "127.0.0.1:9")])
    resources["organization"]["fabrikam"] = {"accepted_domain": [{"name": "fabrikam.example"}]}
    centre = served(gateway, resources)
    send(centre.gateway.port, ["ann@contoso.example", "bob@partner.example"])
    centre.gateway.wait_trace(recipient="bob@partner.example", event="DEFER")
    done = _tried(centre, _token(centre, who), tmp_path, RUNS[run])
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
        "--checks", ",".join(CHECKS), "--seed", SEED, "--continue-on-failure", "--no-shrink", "--warnings", "off",
        "--suppress-health-check", "all", "--generation-database", "none", *options,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=35_000, check=False)
