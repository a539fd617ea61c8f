"""OpenLDAP's slapd with a directory of the tests: inetOrgPerson, and proxyAddresses as Active Directory has them.

Debian's own, with a configuration in a folder of the tests; nothing of the machine's instance is read or started. It
shares no code with gatepost.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.daemon import Daemon, listens
from support.debian import need

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port

BASE = "dc=relay,dc=example"
READER = f"cn=gatepost,{BASE}"
PASSWORD = "correct horse (battery) *"

_SCHEMA = """\
attributetype ( 1.2.840.113556.1.2.210 NAME 'proxyAddresses'
  EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.2.840.113556.1.5.999 NAME 'testRecipient' SUP top AUXILIARY MAY ( proxyAddresses ) )
"""
_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include {folder}/test.schema
pidfile {folder}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {chain}
TLSCertificateKeyFile {key}
TLSCACertificateFile {chain}
security {security}
disallow bind_anon
require authc
database mdb
suffix "{base}"
directory {folder}/db
rootdn "cn=root,{base}"
access to attrs=userPassword by anonymous auth by * none
{access}
{more}
"""
_ACCESS = f'access to * by dn.exact="{READER}" read by * none'
_ENTRIES = """\
dn: {base}
objectClass: dcObject
objectClass: organization
dc: relay
o: Relay

dn: {reader}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: gatepost
userPassword: {password}

"""


class Slapd(Daemon):
    """people: the mail of each person, and proxyAddresses as they are written. certificate: of its TLS.

    more: of its configuration. entries: more of them, as LDIF. access: what the reader may, as in slapd.conf.
    """

    def __init__(
        self,
        certificate: Leaf,
        people: Mapping[str, Sequence[str]],
        *,
        password: str = PASSWORD,
        more: str = "",
        entries: str = "",
        access: str = _ACCESS,
    ) -> None:
        need("slapd")
        super().__init__("slapd")
        self.port, self.implicit_port = free_port(), free_port()
        self.folder.write("test.schema", _SCHEMA)
        self.folder.write("db/.keep", "")
        self._certificate = certificate
        self._more = more
        self.access = access
        made = _ENTRIES.format(base=BASE, reader=READER, password=password)
        made += "".join(
            f"dn: uid=u{number},{BASE}\nobjectClass: inetOrgPerson\nobjectClass: testRecipient\nuid: u{number}\ncn: u\n"
            f"sn: u\nmail: {mail}\n{''.join(f'proxyAddresses: {proxy}' + chr(10) for proxy in proxies)}\n"
            for number, (mail, proxies) in enumerate(people.items())
        )
        made += entries
        path = self.folder.write("entries.ldif", made)
        command = ["/usr/sbin/slapadd", "-f", self._write(), "-l", path]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    def _write(self) -> str:
        text = _CONFIGURATION.format(
            folder=self.folder.path,
            chain=self._certificate.chain,
            key=self._certificate.key,
            security="simple_bind=128",
            base=BASE,
            access=self.access,
            more=self._more,
        )
        return str(self.folder.write("slapd.conf", text))

    @property
    def urls(self) -> tuple[str, str]:
        """Its address with TLS from the first octet, and the one with StartTLS."""
        return f"ldaps://localhost:{self.implicit_port}", f"ldap://localhost:{self.port}"

    def searches(self) -> int:
        """How many searches it was asked for."""
        return self.log().count(" SRCH base=")

    def command(self) -> list[str | Path]:
        """Written anew for what `access` says now."""
        listen = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.implicit_port}"
        return ["/usr/sbin/slapd", "-f", self._write(), "-h", listen, "-d", "stats"]

    def is_ready(self) -> bool:
        return listens(self.implicit_port)
