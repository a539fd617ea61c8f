"""Convert Postfix's TLS security levels into requirements of an outbound connector (postconf(5), TLS_README).

Called by `analysis.migration.postfix` for each way that mail goes. Where a level demands what gatepost cannot check,
what is written is stricter, never weaker: mail then waits, and the report says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatepost.protocols.tls.limits import parse_group, parse_suite
from gatepost.protocols.tls.profile import PROFILES, iana_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.analysis.migration.postfix_config import MainConfig
    from gatepost.analysis.migration.report import Part


LEVELS = ("none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure")
_STRICT = frozenset(LEVELS) - {"none", "may", "dane"}

_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_NUMBERS = {"301": "TLSv1", "302": "TLSv1.1", "303": "TLSv1.2", "304": "TLSv1.3"}
_OURS = {"TLSv1": "TLSv1.0"}

# Attributes of a policy that are not carried over: why, and what to do.
_LOST = {
    "ciphers": "cipher suites are chosen by the profile of the connector, and weak ones are in none",
    "exclude": "cipher suites are chosen by the profile of the connector, and weak ones are in none",
    "servername": "the name that is sent (SNI) is always that of the next hop",
    "enable_rpk": "raw public keys are not used",
}
_NO_EFFECT = frozenset({"connection_reuse"})


@dataclass(frozen=True, slots=True)
class Policy:
    """A level, its attributes (name -> values, several where it is written several times), and where it is written."""

    level: str
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where: str = ""


def parse_policy(text: str, where: str) -> Policy | None:
    """A value of smtp_tls_policy_maps: "secure match=b.example:.b.example protocols=>=TLSv1.2". None if it is none."""
    level, *rest = text.replace(",", " ").split() or [""]
    if level.lower() not in LEVELS:
        return None
    attributes: dict[str, tuple[str, ...]] = {}
    for attribute in rest:
        name, _, value = attribute.partition("=")
        attributes[name.lower()] = (*attributes.get(name.lower(), ()), value)
    return Policy(level.lower(), attributes, where)


def global_policy(config: MainConfig) -> Policy | None:
    """smtp_tls_security_level, or what the parameters before it meant. None if the level is not known."""
    level = config["smtp_tls_security_level"].strip().lower()
    where = "smtp_tls_security_level"
    if not level and config.flag("smtp_enforce_tls"):
        level, where = ("encrypt" if config["smtp_tls_enforce_peername"] == "no" else "verify"), "smtp_enforce_tls"
    elif not level:
        level, where = ("may", "smtp_use_tls") if config.flag("smtp_use_tls") else ("none", where)
    return Policy(level, {}, where) if level in LEVELS else None


def lowest_version(text: str) -> str | None:
    """The oldest version that a protocol list allows, as ours are called; None if it sets no lower bound.

    Both forms are read: ">=TLSv1.2" and the older "!SSLv2, !SSLv3, !TLSv1" or "TLSv1.2 TLSv1.3".
    """
    words = [part for part in re.split(r"[\s,:]+", text.strip()) if part]
    lowest: str | None = None
    for word in words:
        if word.startswith(">="):
            number = re.sub(r"^(0x)?0?", "", word[2:].lower())
            lowest = next(
                (version for version in _VERSIONS if version.lower() == word[2:].lower()), _NUMBERS.get(number)
            )
    if lowest is None and words and not any(part.startswith((">=", "<=")) for part in words):
        excluded = {part[1:].lower() for part in words if part.startswith("!")}
        included = {part.lower() for part in words if not part.startswith("!")}
        allowed = [
            version
            for version in _VERSIONS
            if version.lower() not in excluded and (not included or version.lower() in included)
        ]
        lowest = allowed[0] if allowed else None
    return _OURS.get(lowest, lowest) if lowest else None


def demand(part: Part, policy: Policy, config: MainConfig, nexthop: str, *, by_mx: bool) -> None:
    """Write into a connector what a policy demands.

    nexthop: the bare name that "nexthop" stands for: the host without brackets and port, or the recipient domain, ""
    where that differs from domain to domain. by_mx: the hosts come from MX records.
    """
    setting = policy.where or "smtp_tls_security_level"
    match policy.level:
        case "none":
            part.differs(setting, "none means without TLS; here TLS is used where it is offered")
        case "may":
            part.table["cleartext"] = "after-failed-handshake"
        case "encrypt":
            part.table["tls_settings"] = "encryption-only"
        case "dane" | "dane-only":
            _dane(part, policy.level)
        case "fingerprint":
            part.table["tls_settings"] = "certificate-validation"
            part.lost(
                setting,
                "certificates are not known by fingerprint here. Mail waits until trust_anchors names a file with the "
                "partner's own certificate, or the root that issued it",
            )
        case _:
            _names(part, policy, config, nexthop, by_mx=by_mx)
            _anchors(part, policy, config)
    _protocols(part, policy, config, setting)
    carried = _limits(part, policy, config)
    for name in policy.attributes:
        if name in _LOST and name not in carried:
            part.lost(f"{setting}: {name}", _LOST[name])
        elif name not in {"match", "protocols", "tafile", *_NO_EFFECT, *carried}:
            part.lost(f"{setting}: {name}", "is not known to this import; look up what it does")


def _dane(part: Part, level: str) -> None:
    """DANE where the domain publishes it and else as may, or from every domain."""
    if level == "dane":
        part.table["cleartext"] = "after-failed-handshake"
    else:
        part.table["smtp_dane_mode"] = "mandatory"
        part.fallbacks["smtp_dane_mode"] = (
            {"tls_settings": "domain-validation"},
            'of dane-only, tls_settings = "domain-validation" is written: mail waits where no name is proved',
        )


def _names(part: Part, policy: Policy, config: MainConfig, nexthop: str, *, by_mx: bool) -> None:
    """The names that the next hop's certificate may bear, of which a connector has one."""
    parameter = "smtp_tls_secure_cert_match" if policy.level == "secure" else "smtp_tls_verify_cert_match"
    texts = policy.attributes.get("match") or (config[parameter],)
    wanted = list(dict.fromkeys(name.lower() for text in texts for name in re.split(r"[\s,:|]+", text) if name))
    part.table["tls_settings"] = "domain-validation"
    setting = f"{policy.where}: match" if "match" in policy.attributes else parameter
    names = _patterns(part, wanted, setting, nexthop, by_mx=by_mx)
    if not names:
        return
    first = names[0]
    bare = first.removeprefix(".")
    if {bare, f".{bare}"} <= set(names):
        first, others = f"*.{bare}", [name for name in names if name not in {bare, f".{bare}"}]
    elif first.startswith("."):
        first, others = f"*.{bare}", names[1:]
        part.differs(setting, f"{names[0]} is written as {first}, which takes in {bare} as well")
    else:
        others = names[1:]
    part.table["tls_domain"] = first
    if others:
        part.lost(
            setting,
            f"a connector expects one name, {first}; mail waits where the certificate bears only {', '.join(others)}",
        )


def _patterns(part: Part, wanted: list[str], setting: str, nexthop: str, *, by_mx: bool) -> list[str]:
    """Names and ".suffixes" for strategies and patterns; [] where the connector's own default says the same."""
    names: list[str] = []
    for text in wanted:
        if text == "hostname" and by_mx:
            part.differs(
                setting,
                "hostname is the MX host's name, which the DNS may forge; here the certificate must bear the name "
                "of the recipient domain. If it does not, write tls_domain",
            )
            names.append(nexthop)
        elif text in {"nexthop", "hostname"}:
            names.append(nexthop)
        elif text == "dot-nexthop":
            names.append(f".{nexthop}" if nexthop else "")
        else:
            names.append(text)
    if re.fullmatch(r"[0-9.]+|.*:.*", nexthop):
        part.lost(
            setting, f"no certificate bears the address {nexthop}; mail waits until tls_domain names what it bears"
        )
        return [name for name in names if name.removeprefix(".") != nexthop]
    if "" in names:  # the recipient domain, whichever it is: what a connector expects without tls_domain
        if "dot-nexthop" in wanted:
            part.differs(
                setting, "names under the recipient domain do not count, only the domain's own; or write tls_domain"
            )
        return []
    return list(dict.fromkeys(names))


def _anchors(part: Part, policy: Policy, config: MainConfig) -> None:
    """The roots that certificates must lead to."""
    files = [text for text in policy.attributes.get("tafile", ()) if text]
    setting = f"{policy.where}: tafile"
    if not files:
        setting = "smtp_tls_CAfile"
        files = config.listed("smtp_tls_trust_anchor_file") or [
            text for text in (config["smtp_tls_CAfile"], config["smtp_tls_CApath"]) if text
        ]
    if files:
        part.table["trust_anchors"] = files[0]
    for other in files[1:]:
        part.lost(
            setting, f"a connector has one trust_anchors; put the certificates of {other} into one file with {files[0]}"
        )


def _protocols(part: Part, policy: Policy, config: MainConfig, setting: str) -> None:
    """min_tls_version, where a demand lets one be named and the list sets one that is not below ours."""
    text = ":".join(policy.attributes.get("protocols", ()))
    source = f"{setting}: protocols"
    if not text:
        source = "smtp_tls_mandatory_protocols" if policy.level in _STRICT else "smtp_tls_protocols"
        text = config[source]
    if "<=" in text:
        part.lost(source, f"{text}: an upper bound is not set here")
    lowest = lowest_version(text)
    if lowest is None or (
        source in {"smtp_tls_mandatory_protocols", "smtp_tls_protocols"} and source not in config.written
    ):
        return
    if policy.level not in _STRICT:
        if lowest > "TLSv1.2":
            part.differs(source, f"{lowest}: opportunistic TLS demands no version, as it lets mail go unencrypted")
    elif lowest < "TLSv1.2":
        part.differs(source, f'{lowest} is off here; for a partner that has nothing newer write profile = "legacy"')
    else:
        part.table["min_tls_version"] = lowest


def _limits(part: Part, policy: Policy, config: MainConfig) -> frozenset[str]:
    """Write groups and cipher_suites, where TLS is demanded; the attributes of the policy that were carried over."""
    if policy.level not in _STRICT:
        return frozenset()
    _groups(part, config)
    return frozenset({"ciphers"} if _cipher_suites(part, policy, config) else ())


def _groups(part: Part, config: MainConfig) -> None:
    """groups, by the list that Postfix offers; what it has beyond ours is left out, and mail waits that needs it."""
    source = "tls_eecdh_auto_curves"
    names = [name.lstrip("?*") for name in re.split(r"[\s,:/]+", config[source]) if name.strip("?*")]
    if source not in config.written or not names:
        return
    known, unknown = _parsed(names, parse_group)
    if not known:
        part.lost(source, f"{', '.join(unknown)}: no such group is negotiated here; those of the profile are")
        return
    part.table["groups"] = known
    if unknown:
        part.lost(
            source, f"{', '.join(unknown)} is not negotiated here; mail waits where the next hop has nothing else"
        )


def _cipher_suites(part: Part, policy: Policy, config: MainConfig) -> bool:
    """cipher_suites, by the list of the grade that is demanded; whether it could be written.

    Postfix's lists are of TLS 1.2 and older, and OpenSSL's own suites of TLS 1.3 go with them. What is no plain list of
    suites selects by properties, and means other suites in each version of OpenSSL.
    """
    grade = (policy.attributes.get("ciphers") or (config["smtp_tls_mandatory_ciphers"] or "medium",))[-1].lower()
    source = f"tls_{grade}_cipherlist"
    if source not in config.written:
        return False
    known, unknown = _parsed([name for name in re.split(r"[\s,:]+", config[source]) if name], parse_suite)
    if unknown or not known:
        part.lost(source, f"{', '.join(unknown)}: no suite of ours; the connector takes those of its profile")
        return False
    kept = [suite for suite in known if suite in _usual_suites()]
    if not kept:
        part.lost(source, 'its suites are in no usual profile; write profile = "compatible" and cipher_suites')
        return False
    if len(kept) < len(known):
        part.lost(source, f"{', '.join(suite for suite in known if suite not in kept)}: is not in profile default")
    part.table["cipher_suites"] = [*PROFILES["default"].suites13.split(":"), *kept]
    return True


def _usual_suites() -> set[str]:
    return {iana_name(suite) for suite in PROFILES["default"].suites12.split(":")}


def _parsed(names: list[str], parse: Callable[[str], str]) -> tuple[list[str], list[str]]:
    """The names that are known, in our form and each once, and those that are not."""
    known: dict[str, None] = {}
    unknown = []
    for name in names:
        try:
            known[parse(name)] = None
        except ValueError:
            unknown.append(name)
    return list(known), unknown
