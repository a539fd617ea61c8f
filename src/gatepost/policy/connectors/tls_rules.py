"""TLS limits of connectors (key exchange, groups, cipher suites), and rules and warnings for them.

Errors are yielded when resources are parsed (`policy.connectors.rules`), warnings by `policy.connectors.lint`. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.policy.connectors.values import Cleartext, KeyExchange, ProfileName, TlsSettings, TlsVersion
from gatepost.protocols.tls.limits import GROUPS, NO_LIMITS, POST_QUANTUM, TlsLimits, limited, offer
from gatepost.protocols.tls.profile import PROFILES, Profile, iana_name, with_minimum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.policy.connectors.errors import Draft, FieldError
    from gatepost.policy.connectors.records import InboundConnector, OutboundConnector


FIELDS: Final = ("min_key_exchange", "groups", "cipher_suites")
_OLD_FOR_POST_QUANTUM: Final = (
    'no older version has post-quantum key exchange; write "TLSv1.3", or leave this out, as min_key_exchange = '
    '"post-quantum" asks for TLS 1.3 already'
)


def limits_of(connector: InboundConnector | OutboundConnector) -> TlsLimits:
    """The limits that a connector sets."""
    post_quantum = connector.min_key_exchange is KeyExchange.POST_QUANTUM
    if not (post_quantum or connector.groups or connector.cipher_suites):
        return NO_LIMITS
    return limited(post_quantum=post_quantum, groups=connector.groups, suites=connector.cipher_suites)


def check_inbound(draft: Draft[InboundConnector]) -> Iterator[FieldError]:
    """Yield errors of what an inbound connector limits."""
    if "require_tls" not in draft.bad and not draft.value.require_tls:
        said = "unencrypted mail would pass while mail over another TLS is refused; write require_tls = true as well"
        yield from (draft.error(field, said) for field in _set_fields(draft))
        return
    yield from _check_offer(draft)


def check_outbound(draft: Draft[OutboundConnector]) -> Iterator[FieldError]:
    """Yield errors of what an outbound connector limits."""
    connector = draft.value
    opportunistic = connector.tls_settings is TlsSettings.OPPORTUNISTIC and connector.cleartext is not Cleartext.NEVER
    if draft.bad.isdisjoint({"tls_settings", "cleartext"}) and opportunistic:
        said = (
            "opportunistic TLS cannot demand this, as it lets mail go unencrypted; write tls_settings = "
            '"encryption-only", or leave this out'
        )
        yield from (draft.error(field, said) for field in _set_fields(draft))
        return
    yield from _check_offer(draft)


def _set_fields(draft: Draft[InboundConnector] | Draft[OutboundConnector]) -> list[str]:
    """The fields that limit something."""
    connector = draft.value
    limiting = {
        "min_key_exchange": connector.min_key_exchange is KeyExchange.POST_QUANTUM,
        "groups": bool(connector.groups),
        "cipher_suites": bool(connector.cipher_suites),
    }
    return [field for field in FIELDS if limiting[field] and field not in draft.bad]


def _check_offer(draft: Draft[InboundConnector] | Draft[OutboundConnector]) -> Iterator[FieldError]:
    """Something that can be negotiated must remain."""
    connector, limits = draft.value, limits_of(draft.value)
    if limits == NO_LIMITS or not draft.bad.isdisjoint({*FIELDS, "profile", "min_tls_version"}):
        return
    if limits.post_quantum and connector.min_tls_version and connector.min_tls_version < TlsVersion.TLS_1_3:
        yield draft.error("min_tls_version", _OLD_FOR_POST_QUANTUM)
    elif not limits.allowed_groups:
        said = f'under min_key_exchange = "post-quantum" none of them counts; add {POST_QUANTUM[0]}, or leave this out'
        yield draft.error("groups", said)
    else:
        try:
            offer(_floor(connector), limits)
        except ValueError as error:
            field = "cipher_suites" if connector.cipher_suites else "groups"
            yield draft.error(field, f"{error}. {_usable(connector, limits)}")


def _floor(connector: InboundConnector | OutboundConnector) -> Profile:
    """The profile and the oldest version that the connector names, the server's usual profile if it names none."""
    profile = PROFILES[connector.profile or ProfileName.DEFAULT]
    return with_minimum(profile, connector.min_tls_version) if connector.min_tls_version else profile


def _usable(connector: InboundConnector | OutboundConnector, limits: TlsLimits) -> str:
    """Say which suites can be negotiated under all that the connector asks for but its own list."""
    floor = _floor(connector)
    groups = frozenset(limits.allowed_groups)
    only13 = floor.min_version == TlsVersion.TLS_1_3 or groups <= set(POST_QUANTUM)
    example = floor.suites13.partition(":")[0] if only13 else floor.suites12.partition(":")[0]
    version = "TLS 1.3" if only13 else f"profile {floor.name}"
    return f"Add a suite of {version}, such as {iana_name(example)}, or leave this out"


def lint(connector: InboundConnector | OutboundConnector, label: str, *, inbound: bool) -> Iterator[str]:
    """Yield warnings: what is allowed and probably shuts out more than was meant."""
    limits = limits_of(connector)
    floor = _floor(connector)
    suites13 = [suite for suite in floor.suites13.split(":") if suite in limits.allowed_suites]
    if not suites13:
        what = "clients that speak TLS 1.3 agree on it, and are refused" if inbound else "TLS 1.3 is not offered"
        yield f"{label}: cipher_suites lists no suite of TLS 1.3, so {what}; add {floor.suites13.partition(':')[0]}"
    if not inbound:
        return
    allowed = limits.allowed_groups
    if allowed != GROUPS[: len(allowed)]:
        yield _preferred(label, "group", next(group for group in GROUPS if group not in allowed))
    if suites13 and suites13 != floor.suites13.split(":")[: len(suites13)]:
        preferred = next(suite for suite in floor.suites13.split(":") if suite not in suites13)
        yield _preferred(label, "cipher suite", preferred)


def _preferred(label: str, kind: str, name: str) -> str:
    return (
        f"{label}: the listener chooses before it knows the connector, and prefers {name}, which the connector does "
        f"not allow: every client that offers this {kind} too is refused"
    )
