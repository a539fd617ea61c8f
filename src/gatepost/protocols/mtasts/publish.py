"""The publication of one of our domains: policy text and TXT record, and where both belong (RFC 8461).

Used by `policy.connectors.publication`, for the HTTPS server of policies and the command that shows what goes into the
zone, and by `net.lookups.mtasts` for the names. Pure: the caller looks up the domain's MX hosts.

The id of the record is the beginning of the policy's SHA-256: every node comes to the same one alone, it changes when
the text does and never else, and it comes back when an older text does. A sender compares it with the id that it last
fetched under, so that going back is a change to it as well (section 3.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from gatepost.protocols.mtasts.policy import MAX_AGE, Lint, PolicyError, StsMode, StsPolicy, lint, parse_policy
from gatepost.protocols.mtasts.record import MAX_ID, StsRecord
from gatepost.protocols.tls.names import normalise

PATH = "/.well-known/mta-sts.txt"
CONTENT_TYPE = "text/plain; charset=utf-8"


class StsPublication(msgspec.Struct, frozen=True):
    """domain: A-labels. record: its id changes exactly when the policy's text does. remarks: of `lint`."""

    domain: str
    policy: StsPolicy
    record: StsRecord
    remarks: tuple[Lint, ...]

    @property
    def body(self) -> bytes:
        """The body that `url` serves, as CONTENT_TYPE."""
        return self.policy.text.encode("ascii")

    @property
    def url(self) -> str:
        """The URL of the policy; its host needs a certificate with its name."""
        return f"https://{policy_host(self.domain)}{PATH}"

    @property
    def zone_line(self) -> str:
        """The TXT record as a zone file has it."""
        return f'{record_name(self.domain)}. IN TXT "{self.record.text}"'


def policy_host(domain: str) -> str:
    """The host that serves the policy of `domain` (section 3.3)."""
    return f"mta-sts.{domain}"


def record_name(domain: str) -> str:
    """The owner of the TXT record of `domain` (section 3.1)."""
    return f"_mta-sts.{domain}"


def publish(
    domain: str, mode: StsMode, mx: Sequence[str], max_age: int, *, hosts: Sequence[str] = ()
) -> StsPublication:
    """The policy of `domain`, checked as a sender would read it.

    mx: host names or "*.domain". max_age: 0 to 31557600 seconds. hosts: the MX hosts of the domain as DNS has them.
    Raises ValueError with a sentence if no sender could use it.
    """
    name = normalise(domain)
    if not name or name.startswith("*."):
        raise ValueError(f"{domain!r} is not a domain that can have a policy")
    if not normalise(record_name(name)):
        raise ValueError(f"{domain!r} is too long: {record_name(name)} would not be a valid name")
    patterns = tuple(dict.fromkeys(_pattern(text) for text in mx))
    if max_age > MAX_AGE:
        raise ValueError(f"max_age '{max_age}' is not 0 to {MAX_AGE} seconds")
    policy = StsPolicy(mode, patterns, max_age)
    read = parse_policy(policy.text.encode("ascii"))
    if isinstance(read, PolicyError):
        raise ValueError(read.detail)  # noqa: TRY004 - the type is right, the policy is not
    return StsPublication(name, policy, StsRecord(_id(policy)), lint(policy, hosts))


def _pattern(text: str) -> str:
    pattern = normalise(text)
    if not pattern:
        raise ValueError(f"mx {text!r} is neither a host name nor *.domain")
    return pattern


def _id(policy: StsPolicy) -> str:
    return hashlib.sha256(policy.text.encode("ascii")).hexdigest()[:MAX_ID]
