"""Read Postfix's main.cf, master.cf and tables: logical lines, values, and "$name" expansion.

Used by `analysis.migration.postfix` and its neighbours. Text in, values out; which files a table needs is said by
`named_files`, and `manage.cli.imports` reads them. Of Postfix's own defaults only those are here that the import needs.

Lists and lookup tables are read from their source text: an indexed table (hash:, lmdb:, ...) is made by postmap of a
text file of the same name, and that is read, never the index. What only a server or a program can answer (ldap:,
mysql:, pcre:, ...) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gatepost.analysis.migration.report import ImportRefused

_TEXT_TYPES = frozenset({"hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash", "cidr"})
_TYPED = re.compile(r"(proxy:)?([a-z0-9_]+):(.*)", re.DOTALL)
LDAP = re.compile(r"(proxy:)?ldap:(\S+)")
"""A directory as a table: its file, or the obsolete name of its parameters in main.cf."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a table or list. key: in lower case. where: file and line, or the parameter."""

    key: str
    value: str
    where: str


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of each logical line: a blank in front continues the line before, comments do not end it."""
    start, gathered = 0, ""
    for number, line in enumerate(re.split(r"\r?\n", text), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        if line[0] in " \t" and gathered:
            gathered = f"{gathered} {bare}"
            continue
        if gathered:
            yield start, gathered
        start, gathered = number, bare
    if gathered:
        yield start, gathered


def references(text: str) -> list[str]:
    """The entries of a list in main.cf; commas and blanks part them, but not within braces."""
    result: list[str] = []
    level, start = 0, 0
    for place, char in enumerate(f"{text} "):
        level += (char == "{") - (char == "}")
        if level <= 0 and char in ", \t":
            if place > start:
                result.append(text[start:place])
            start = place + 1
    if text[start:].strip():  # a brace that nothing closes
        result.append(text[start:].strip())
    return result


def source_file(reference: str) -> str:
    """The text file behind an entry of a list: "/file" or "type:/file" of a type that is read; else ""."""
    bare = reference.removeprefix("!")
    if bare.startswith("/"):
        return bare
    typed = _TYPED.fullmatch(bare)
    return typed[3] if typed and typed[2] in _TEXT_TYPES else ""


def directory_file(reference: str) -> str:
    """The file with the parameters of a directory that is asked ("ldap:/file"), "" for any other entry of a list."""
    match = LDAP.fullmatch(reference)
    return match[2] if match and match[2].startswith(("/", ".")) else ""


def table(reference: str, files: Mapping[str, tuple[str | None, str]], where: str) -> list[Entry] | str:
    """The entries of a table or of a list in a file, in their order; or why they cannot be had.

    files: path -> (its text, or None and why it was not read). where: for entries that stand in main.cf itself.
    """
    bare = reference.removeprefix("!")
    typed = _TYPED.fullmatch(bare)
    if typed and typed[2] == "inline":
        return list(_inline(typed[3], where))
    if typed and typed[2] == "static":
        return f"{reference} gives every name the same answer, and names none"
    path = source_file(reference)
    if not path:
        return f"{reference} is answered by a server, a program or patterns, whose entries cannot be listed"
    text, why = files.get(path, (None, f"{path} was not read"))
    if text is None:
        return why
    return list(_lines(text, path, is_list=not typed))


def _lines(text: str, path: str, *, is_list: bool) -> Iterator[Entry]:
    """The entries of a file. is_list: a file that a list names by its path, with nothing but keys in it."""
    for number, line in logical_lines(text):
        where = f"{path}, line {number}"
        if is_list:
            yield from (Entry(key.lower(), "", where) for key in references(line))
        else:
            key, _, value = line.replace("\t", " ").partition(" ")
            yield Entry(key.strip('"').lower(), value.strip(), where)


def _inline(text: str, where: str) -> Iterator[Entry]:
    """The entries of "{ key=value, {key = a long value} }"."""
    for reference in references(text.strip().removeprefix("{").removesuffix("}")):
        key, _, value = reference.removeprefix("{").removesuffix("}").partition("=")
        yield Entry(key.strip().lower(), value.strip(), where)


# Parameters whose tables are read.
DIRECTORY_PARAMETERS = ("relay_recipient_maps", "virtual_mailbox_maps", "local_recipient_maps")
"""Parameters whose directories (ldap:) say which recipients exist."""

TABLE_PARAMETERS = (
    "sender_bcc_maps", "recipient_bcc_maps", "relay_recipient_maps", "transport_maps", "smtp_sasl_password_maps",
    "smtp_tls_policy_maps", "mydestination", "virtual_mailbox_domains", "relay_domains", "virtual_alias_domains",
    "virtual_alias_maps", "mynetworks",
)  # fmt: skip

# As `postconf -d` prints them in Postfix 3.10, where nothing depends on the machine.
_DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "mydestination": "$myhostname, localhost.$mydomain, localhost",
        "parent_domain_matches_subdomains": "debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,"
        "qmqpd_authorized_clients,relay_domains,smtpd_access_maps",
        "maximal_queue_lifetime": "5d",
        "smtp_sasl_security_options": "noplaintext, noanonymous",
        "smtp_sasl_tls_security_options": "$smtp_sasl_security_options",
        "smtp_tls_secure_cert_match": "nexthop, dot-nexthop",
        "smtp_tls_verify_cert_match": "hostname",
        "smtp_tls_mandatory_protocols": ">=TLSv1",
        "smtpd_tls_mandatory_protocols": ">=TLSv1",
        "smtp_tls_key_file": "$smtp_tls_cert_file",
        "smtp_tls_eckey_file": "$smtp_tls_eccert_file",
        "virtual_alias_maps": "$virtual_maps",
        "default_transport": "smtp",
        "relay_transport": "relay",
        "compatibility_level": "0",
    }
)
_NAME = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_EXPRESSION = re.compile(r"\s*\{(.*?)\}\s*(==|!=|<=|>=|<|>)\s*(?:level\s*)?\{(.*?)\}\s*(.*)", re.DOTALL)
_OPTION = re.compile(r"-o\s+(?:\{([^}]*)\}|(\S+))")
_MOST_DEPTH = 40
_MOST_LENGTH = 1 << 20
_MOST_EXPRESSION = 4096
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class Service:
    """A line of master.cf. options: of its "-o name=value"."""

    name: str
    command: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MainConfig:
    """The parameters in main.cf: their texts, not expanded. lines: parameter -> the line it starts at.

    repeated: (parameter, line) of each definition that a later one overrides.
    known: values already expanded: without it, a few parameters that name each other twice take forever.
    """

    written: Mapping[str, str]
    lines: Mapping[str, int]
    repeated: tuple[tuple[str, int], ...] = ()
    known: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __getitem__(self, name: str) -> str:
        """The value of a parameter, expanded: as written, or by Postfix's default, or "". Raises ImportRefused."""
        return _value(self, name, name, _MOST_DEPTH)

    def listed(self, name: str) -> list[str]:
        """A value as a list; commas and blanks part the entries, tables in braces stay whole."""
        return references(self[name])

    def flag(self, name: str) -> bool:
        """Whether a parameter says yes."""
        return self[name].strip().lower() == "yes"

    def raw(self, name: str) -> str | None:
        """The text that stands for a parameter before expansion; None if it is not defined."""
        return self.written.get(name, _DEFAULTS.get(name))


def parse_main(text: str) -> MainConfig:
    """Read main.cf. Of a parameter that is defined again, the last definition counts. Raises ImportRefused."""
    written: dict[str, str] = {}
    lines: dict[str, int] = {}
    repeated: list[tuple[str, int]] = []
    for number, line in logical_lines(text):
        name, equals, value = line.partition("=")
        if not equals or not _NAME.fullmatch(name.strip()):
            raise ImportRefused(
                f"main.cf, line {number}: {line[:60]!r} is not of the form name = value; nothing was read. Correct it "
                "as Postfix would demand as well"
            )
        if name.strip() in lines:
            repeated.append((name.strip(), lines[name.strip()]))
        written[name.strip()] = value.strip()
        lines[name.strip()] = number
    return MainConfig(written, lines, tuple(repeated))


def parse_master(text: str) -> list[Service]:
    """The services of master.cf."""
    services = []
    for _, line in logical_lines(text):
        fields = line.split(maxsplit=8)
        if len(fields) < 8:
            continue
        options = {}
        for braced, plain in _OPTION.findall(" ".join(fields[8:])):
            name, _, value = (braced or plain).partition("=")
            options[name.strip()] = value.strip()
        services.append(Service(fields[0], fields[7], options))
    return services


def named_files(text: str, directory: str) -> list[str]:
    """The files that a main.cf needs besides itself: sources of tables, and lists in files. Raises ImportRefused.

    directory: where main.cf is, which is what $config_directory stands for.
    """
    config = with_directory(parse_main(text), directory)
    candidates = [
        source_file(table) for name in TABLE_PARAMETERS if config.raw(name) is not None for table in config.listed(name)
    ]
    candidates += [directory_file(table) for name in DIRECTORY_PARAMETERS for table in config.listed(name)]
    return list(dict.fromkeys(candidate for candidate in candidates if candidate))


def with_directory(config: MainConfig, directory: str) -> MainConfig:
    """The same, with $config_directory known."""
    return MainConfig({"config_directory": directory, **config.written}, config.lines, config.repeated)


def seconds(text: str) -> float | None:
    """A time of Postfix's in seconds: "5d", "300"; None if it is none."""
    match = re.fullmatch(r"(\d{1,9})([smhdw]?)", text.strip(), re.ASCII)
    return float(int(match[1]) * _UNITS[match[2]]) if match else None


def _expanded(config: MainConfig, text: str, owner: str, depth: int) -> str:
    """A text with everything behind "$" replaced. depth: how many more parameters may lead to each other."""
    if depth <= 0:
        raise ImportRefused(
            f"main.cf, line {config.lines.get(owner, 1)}: {owner} leads back to itself, or through more than "
            f"{_MOST_DEPTH} parameters; nothing was read"
        )
    out: list[str] = []
    length = place = 0
    while place < len(text):
        piece, place = _piece(config, text, place, owner, depth)
        out.append(piece)
        length += len(piece)
        if length > _MOST_LENGTH:
            raise ImportRefused(f"main.cf: {owner} becomes longer than {_MOST_LENGTH} characters; nothing was read")
    return "".join(out)


def _piece(config: MainConfig, text: str, place: int, owner: str, depth: int) -> tuple[str, int]:
    """The next piece of a text, expanded, and the place behind it."""
    dollar = text.find("$", place)
    if dollar != place:
        end = len(text) if dollar < 0 else dollar
        return text[place:end], end
    if text.startswith("$$", place):
        return "$", place + 2
    opening = text[place + 1 : place + 2]
    if opening in {"{", "("}:
        end = _closing(text, place + 1, owner, config)
        return _braced(config, text[place + 2 : end], owner, depth), end + 1
    match = _NAME.match(text, place + 1)
    if match is None:
        return "$", place + 1
    return _value(config, match[0], owner, depth), match.end()


def _closing(text: str, opening: int, owner: str, config: MainConfig) -> int:
    """The place of the bracket that closes the one at `opening`."""
    left, right = text[opening], {"{": "}", "(": ")"}[text[opening]]
    level = 0
    for place in range(opening, len(text)):
        level += (text[place] == left) - (text[place] == right)
        if level == 0:
            return place
    raise ImportRefused(
        f"main.cf, line {config.lines.get(owner, 1)}: {owner} has a {left} that nothing closes; nothing was read"
    )


def _value(config: MainConfig, name: str, owner: str, depth: int) -> str:
    if name not in config.known:
        if name == "mydomain" and name not in config.written:
            hostname = _value(config, "myhostname", owner, depth - 1)
            known = hostname.partition(".")[2] or "localdomain" * bool(hostname)
        else:
            known = _expanded(config, config.raw(name) or "", name if name in config.lines else owner, depth - 1)
        config.known[name] = known
    return config.known[name]


def _braced(config: MainConfig, inner: str, owner: str, depth: int) -> str:
    """Expand the inside of ${...}: a name, a condition on a name, or a comparison."""
    if (compared := _EXPRESSION.fullmatch(inner[:_MOST_EXPRESSION])) is not None:
        left, operator, right, rest = compared.groups()
        sides = (_expanded(config, left, owner, depth - 1).strip(), _expanded(config, right, owner, depth - 1).strip())
        return _chosen(config, rest, owner, depth, holds=_compare(sides, operator))
    match = _NAME.match(inner)
    if match is None:
        return ""
    holds = bool(_value(config, match[0], owner, depth))
    rest = inner[match.end() :].strip()
    return _chosen(config, rest, owner, depth, holds=holds) if rest else _value(config, match[0], owner, depth)


def _compare(sides: tuple[str, str], operator: str) -> bool:
    """As numbers where both sides are some, else as texts."""
    left, right = sides
    numeric = all(re.fullmatch(r"\d{1,18}", side, re.ASCII) for side in sides)
    order = (int(left) > int(right)) - (int(left) < int(right)) if numeric else (left > right) - (left < right)
    return {"==": order == 0, "!=": order != 0, "<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0}[
        operator
    ]


def _chosen(config: MainConfig, rest: str, owner: str, depth: int, *, holds: bool) -> str:
    """The value behind "?" if the condition holds, that behind ":" if not."""
    mark, body = rest[:1], rest[1:].strip()
    otherwise = ""
    if body.startswith("{"):
        end = _closing(body, 0, owner, config)
        body, behind = body[1:end], body[end + 1 :].strip()
        otherwise = behind.removeprefix(":").strip()
        if otherwise.startswith("{") and otherwise.endswith("}"):
            otherwise = otherwise[1:-1]
    if mark == "?":
        return _expanded(config, body if holds else otherwise, owner, depth - 1)
    return "" if holds else _expanded(config, body, owner, depth - 1)
