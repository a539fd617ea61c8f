"""Convert a Postfix LDAP table (ldap_table(5)) into the `recipient_directory` of an accepted domain.

Called by `analysis.migration.postfix_recipients`. Postfix says that a recipient exists if a search returns one of the
result attributes; gatepost, if it finds an entry. The password is handed on apart from the directory and stands in no
finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from gatepost.analysis.migration.postfix_config import LDAP, MainConfig, directory_file, logical_lines, references
from gatepost.policy.connectors.recipient_directory import RecipientDirectory, server_of

type Files = Mapping[str, tuple[str | None, str]]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IGNORED: Final = _names(
    """
    timeout bind_pw cache cache_expiry cache_size recursion_limit expansion_limit size_limit debuglevel result_format
    result_filter tls_random_file sasl_mechs sasl_realm sasl_authz_id sasl_minssf
    """
)
_READ: Final = _names(
    """
    server_host server_port search_base query_filter domain result_attribute special_result_attribute bind bind_dn
    terminal_result_attribute leaf_result_attribute scope dereference chase_referrals version start_tls tls_cert
    tls_ca_cert_dir tls_ca_cert_file tls_key tls_require_cert tls_cipher_suite
    """
)
_PLACEHOLDERS: Final = {"s": "{address}", "u": "{local}", "d": "{domain}", "%": "%"}
_YES: Final = frozenset({"yes", "true", "1", "on"})
_LOG_INS: Final = {"no": False, "none": False, "yes": True, "simple": True, "": True, "0": False, "1": True}


@dataclass(slots=True)
class LdapTable:
    """A table as a directory. directory: a `recipient_directory`. domains: it is asked for these alone; () for all.

    differs, lost: parameters, each with what to tell of it. password: of bind_dn, "" if there is none.
    """

    reference: str
    directory: dict[str, Any] = field(default_factory=dict)
    domains: tuple[str, ...] = ()
    differs: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    password: str = field(default="", repr=False)

    def takes(self, domain: str) -> bool:
        """Whether Postfix asks it about recipients of an accepted domain."""
        return not self.domains or domain.removeprefix("*.") in self.domains


def ldap_parameters(config: MainConfig, tables: Iterator[str]) -> frozenset[str]:
    """The parameters of main.cf that belong to one of these tables ("ldap:name", which is obsolete)."""
    names = [match[2] for table in tables if (match := LDAP.fullmatch(table)) and not directory_file(table)]
    return frozenset(line for line in config.lines if any(line.startswith(f"{name}_") for name in names))


def read_ldap_table(reference: str, config: MainConfig, files: Files, *, local: bool = False) -> LdapTable | str:
    """The table, or why it cannot be carried over, and what to do.

    local: Postfix asks for the part before the "@" alone, too.
    """
    values = _values(reference, config, files)
    if isinstance(values, str):
        return values
    table = LdapTable(reference)
    try:
        table.directory["urls"] = list(dict.fromkeys(_urls(values, table)))
        table.directory["base_dn"] = _base(values)
        table.directory["search_filter"] = _filter(values, table, local=local)
        _log_in(values, table)
        _trust(values, table)
        _search(values, table)
        RecipientDirectory.model_validate(table.directory)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return f"{reference}: {where}: {first['msg'].removeprefix('Value error, ')}; {_BY_HAND}"
    except ValueError as error:
        return f"{reference}: {error}; {_BY_HAND}"
    for name in sorted(values.keys() - _READ - _IGNORED):
        table.lost[name] = "is not known to this import; look up what it does"
    return table


_BY_HAND: Final = 'write recipient_validation = "ldap" and recipient_directory by hand'


def _values(reference: str, config: MainConfig, files: Files) -> dict[str, str] | str:
    """The parameters of a table that are not empty, from its file or, for "ldap:name", from main.cf."""
    path = directory_file(reference)
    if not path:
        match = LDAP.fullmatch(reference)
        prefix = f"{match[2]}_" if match else ""
        parameters = {
            line.removeprefix(prefix): config[line] for line in config.lines if prefix and line.startswith(prefix)
        }
        return parameters or f"{reference}: main.cf has no parameters of it; {_BY_HAND}"
    text, why = files.get(path, (None, f"{path} was not read"))
    if text is None:
        return f"{why}; {_BY_HAND}"
    # A parameter that is written empty differs from one that is not: no result attribute is not the default one.
    parted = (line.partition("=") for _, line in logical_lines(text))
    return {name.strip().lower(): value.strip() for name, equals, value in parted if equals}


def _urls(values: Mapping[str, str], table: LdapTable) -> Iterator[str]:
    """The servers as addresses. Raises ValueError if there is none."""
    port = values.get("server_port") or "389"
    hosts = [part for part in re.split(r"[\s,]+", values.get("server_host") or "localhost") if part]
    is_there = False
    for host in hosts:
        if "://" in host and not host.lower().startswith(("ldap://", "ldaps://")):
            table.lost["server_host"] = (
                f"{host[:200]}: a socket of this machine; name the server with ldaps:// or ldap://"
            )
            continue
        has_port = re.search(r":\d+$", host) and (host.startswith("[") or host.count(":") == 1)
        url = host if "://" in host else f"ldap://{host}" if has_port else f"ldap://{_bracketed(host)}:{port}"
        server_of(url)
        is_there = True
        yield url
    if not is_there:
        raise ValueError("server_host names no server that can be asked over TLS")


def _base(values: Mapping[str, str]) -> str:
    if not values.get("search_base"):
        raise ValueError("search_base is missing, and Postfix then finds nobody")
    return _expanded(values["search_base"], "search_base", {"%": "%"})


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _expanded(text: str, parameter: str, placeholders: Mapping[str, str]) -> str:
    """A text with Postfix's "%" replaced. Raises ValueError for what a directory here does not have."""

    def replaced(match: re.Match[str]) -> str:
        letter = match[1].lower()
        if letter not in placeholders:
            raise ValueError(f"{parameter} has {match[0]}, for which there is nothing here")
        return placeholders[letter]

    return re.sub(r"%(.?)", replaced, text)


def _filter(values: Mapping[str, str], table: LdapTable, *, local: bool) -> str:
    """The search filter: an entry is found only if it has something to return, as Postfix has it."""
    text = values.get("query_filter") or "mailacceptinggeneralid=%s"
    text = text if text.startswith("(") else f"({text})"
    # Braces are no placeholders to Postfix, and blanks of a continued line stand between elements.
    text = re.sub(r"\)\s+(?=[()])", ")", text.replace("{", "\\7b").replace("}", "\\7d"))
    result = _expanded(text, "query_filter", _PLACEHOLDERS)
    if local and "{address}" in result:
        result = f"(|{result}{result.replace('{address}', '{local}')})"
    attributes = _attributes(values)
    if not attributes:
        raise ValueError("result_attribute is empty, and Postfix then finds nobody")
    if values.get("special_result_attribute"):
        table.differs["special_result_attribute"] = (
            "a group counts as a recipient if the directory has it, whether or not its members lead to an address"
        )
    if any(_implies(result, attribute) for attribute in attributes):
        return result
    present = "".join(f"({attribute}=*)" for attribute in attributes)
    return f"(&{result}{f'(|{present})' if len(attributes) > 1 else present})"


def _attributes(values: Mapping[str, str]) -> list[str]:
    names = [values.get("result_attribute", "maildrop")]
    names += [values.get(f"{kind}_result_attribute", "") for kind in ("special", "terminal", "leaf")]
    return list(dict.fromkeys(name for text in names for name in re.split(r"[\s,]+", text) if name))


def _implies(text: str, attribute: str) -> bool:
    """Whether what a filter finds has the attribute for certain."""
    if text[1:2] in {"&", "|"}:
        inner = [_implies(part, attribute) for part in _elements(text[2:-1])]
        return any(inner) if text[1] == "&" else bool(inner) and all(inner)
    name, equals, _ = text[1:].partition("=")
    return bool(equals) and name.lower() == attribute.lower()


def _elements(text: str) -> Iterator[str]:
    """The filters that stand beside each other in a text."""
    level = start = 0
    for place, char in enumerate(text):
        level += (char == "(") - (char == ")")
        if char == "(" and level == 1:
            start = place
        if char == ")" and level == 0:
            yield text[start : place + 1]


def _log_in(values: Mapping[str, str], table: LdapTable) -> None:
    how = values.get("bind", "").lower()
    if _LOG_INS.get(how) is False:
        return
    name, password = values.get("bind_dn", ""), values.get("bind_pw", "")
    if how not in _LOG_INS:
        table.lost["bind"] = (
            f"{how}: the gateway logs in with a name and a password; write bind_dn, and enter a password"
        )
    elif name and not password:
        table.differs["bind_pw"] = "there is none, so Postfix asks without a log-in, and so does the gateway"
    elif name:
        table.directory["bind_dn"] = name
        table.password = password


def _trust(values: Mapping[str, str], table: LdapTable) -> None:
    """TLS, and the roots of certificates: always checked here."""
    roots = values.get("tls_ca_cert_file") or values.get("tls_ca_cert_dir")
    if roots and roots.startswith("/"):
        table.directory["trust_anchors"] = roots
    elif roots:
        table.lost["tls_ca_cert_file"] = f"{roots[:200]}: write its whole path in trust_anchors"
    urls = table.directory["urls"]
    if values.get("start_tls", "").lower() not in _YES and any(url.lower().startswith("ldap://") for url in urls):
        table.differs["start_tls"] = (
            "Postfix asks without TLS; the gateway begins TLS (StartTLS) first, and asks nothing of a server without it"
        )
    if values.get("tls_require_cert", "").lower() not in _YES:
        hosts = ", ".join(server_of(url)[0] for url in urls)
        table.differs["tls_require_cert"] = (
            f"Postfix does not check certificates; the gateway asks a server only if its certificate is trusted and "
            f"contains its name ({hosts}). Name the root of a private authority in trust_anchors"
        )
    for name in ("tls_cert", "tls_key"):
        if values.get(name):
            table.lost[name] = "the gateway shows directories no certificate; let it log in with bind_dn and a password"
    if values.get("tls_cipher_suite"):
        table.differs["tls_cipher_suite"] = "the gateway and the server choose from those of TLS 1.2 and 1.3"


def _search(values: Mapping[str, str], table: LdapTable) -> None:
    """How Postfix searches, as far as it differs."""
    if (scope := values.get("scope", "").lower()) not in {"", "sub"}:
        table.differs["scope"] = f"{scope}: the gateway searches everything below base_dn, and may find more"
    if values.get("dereference", "0") not in {"", "0"}:
        table.lost["dereference"] = "aliases in the directory are not followed; name in base_dn where the entries are"
    if values.get("chase_referrals", "0").lower() in _YES:
        table.lost["chase_referrals"] = (
            "referrals are not followed; ask a server that has all entries, such as a global catalog"
        )
    if values.get("version", "3") not in {"", "3"}:
        table.differs["version"] = "the gateway speaks version 3 of LDAP"
    listed = references(values.get("domain", ""))
    if tables := [entry for entry in listed if ":" in entry or entry.startswith("/")]:
        said = f"{', '.join(tables)[:200]}: not read; the directory is asked about each relayed domain"
        table.differs["domain"] = f"{said}. Change those that it does not have"
    else:
        table.domains = tuple(entry.lower() for entry in listed)
