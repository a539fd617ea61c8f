"""The life of such a process is in `test_policy_host.py` and `test_challenge_host.py`; here it does not begin."""

from __future__ import annotations

import pytest

SCRIPT = """
import logging, sys
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.node.auxiliary import run_auxiliary
from gatepost.store.interface import StoreFailure

logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)

def make():
    raise {"store": StoreFailure, "certificate": CertificateFileError, "system": OSError}[sys.argv[1]]("it is broken")

print("status", run_auxiliary(make, 0, drain=1.0, what="small things"), flush=True)
"""


@pytest.mark.parametrize("kind", ["store", "certificate", "system"])
def test_what_cannot_be_served_is_told(run, kind):
    script = run(SCRIPT, kind)
    script.expect("CRITICAL small things cannot be served: it is broken")
    script.expect("status 1")
