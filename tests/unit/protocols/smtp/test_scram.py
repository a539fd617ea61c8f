from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.sasl import SaslError
from gatepost.protocols.smtp.scram import ScramClient, ScramServer, make_verifier, unknown_verifier

EXPORTER = {"tls-exporter": b"E" * 32}
BOTH = EXPORTER | {"tls-server-end-point": b"S" * 32}
SALT = b"0123456789abcdef"
VERIFIER = make_verifier("pencil", SALT)


def test_the_example_of_rfc_7677():
    server = ScramServer("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", {}, plus=False)
    server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert server.name == "user"
    verifier = make_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    assert server.challenge(verifier) == b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    final = b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert server.final(final) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


class Client:
    """The other side, as RFC 5802 section 3 has it."""

    def __init__(self, typed="pencil", header="n,,", binding=b"", name="user"):
        self.password = typed
        self.header = header
        self.binding = binding
        self.bare = f"n={name},r=cnonce"

    @property
    def first(self):
        return (self.header + self.bare).encode()

    def final(self, challenge, *, nonce=None):
        fields = dict(field.split("=", 1) for field in challenge.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        binding = base64.b64encode(self.header.encode() + self.binding).decode()
        bare = f"c={binding},r={nonce or fields['r']}"
        said = f"{self.bare},{challenge.decode()},{bare}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), said, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        self.expected = b"v=" + base64.b64encode(
            hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256")
        )
        return f"{bare},p={proof}".encode()


def exchange(client, bindings=None, *, plus=False, verifier=VERIFIER, **more):
    server = ScramServer("snonce", bindings or {}, plus=plus)
    server.first(client.first)
    return server.final(client.final(server.challenge(verifier), **more))


@pytest.mark.parametrize(
    ("header", "binding", "bindings", "plus"),
    [
        ("n,,", b"", {}, False),
        ("n,,", b"", BOTH, False),
        ("y,,", b"", {}, False),
        ("n,a=other,", b"", {}, False),
        ("p=tls-exporter,,", b"E" * 32, BOTH, True),
        ("p=tls-server-end-point,,", b"S" * 32, BOTH, True),
    ],
)
def test_who_knows_the_password(header, binding, bindings, plus):
    client = Client(header=header, binding=binding)
    assert exchange(client, bindings, plus=plus) == client.expected
    assert exchange(Client("pen", header, binding), bindings, plus=plus) is None


@pytest.mark.parametrize(
    ("header", "binding", "plus", "why"),
    [
        ("p=tls-exporter,,", b"F" * 32, True, "does not match"),  # another session: somebody stands between
        ("p=tls-exporter,,", b"", True, "does not match"),
        ("p=tls-unique,,", b"E" * 32, True, "not available"),
        ("p=tls-exporter,,", b"E" * 32, False, "does not fit"),
        ("n,,", b"", True, "does not fit"),
        ("y,,", b"", False, "downgrade"),
    ],
)
def test_channel_binding(header, binding, plus, why):
    with pytest.raises(SaslError, match=why):
        exchange(Client(header=header, binding=binding), EXPORTER, plus=plus)


def test_a_binding_that_was_not_said():
    client = Client()
    client.header = "n,,"
    server = ScramServer("snonce", {}, plus=False)
    server.first(client.first)
    challenge = server.challenge(VERIFIER)
    client.header = "y,,"
    with pytest.raises(SaslError, match="does not match"):
        server.final(client.final(challenge))


def test_names():
    server = ScramServer("s", {}, plus=False)
    server.first(b"n,a=bo=3Db,n=an=2Cn,r=c,ext=1")
    assert (server.name, server.authzid) == ("an,n", "bo=b")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"n,,n=user",
        b"n,,n=,r=c",
        b"n,,n=us=er,r=c",
        b"n,a=x=y,n=user,r=c",
        b"n,,r=c,n=user",
        b"n,,m=ext,n=user,r=c",
        b"x,,n=user,r=c",
        b"n,,n=user,r=",
        b"n,,n=user,r=c\x07",
        b"n,,n=us\0er,r=c",
        b"n,,n=\xff,r=c",
        b"n,,n=user,r=" + b"c" * 5000,
    ],
)
def test_malformed_first_messages(message):
    with pytest.raises(SaslError):
        ScramServer("s", {}, plus=False).first(message)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "malformed"),
        (b"c=biws,r=cs", "malformed"),
        (b"r=cs,c=biws,p=AAAA", "malformed"),
        (b"c=biw,r=cs,p=AAAA", "base64"),
        (b"c=biws,r=cs,p=AAA", "base64"),
        (b"c=biws,r=cs,p=AAAA", "length"),
        (b"c=biws,r=c,p=AAAA", "nonce"),
        (b"c=biws,r=cx,p=AAAA", "nonce"),
        (b"c=biws,r=cs,x=1,p=AAAA", "length"),
    ],
)
def test_malformed_final_messages(message, why):
    server = ScramServer("s", {}, plus=False)
    server.first(b"n,,n=user,r=c")
    server.challenge(VERIFIER)
    with pytest.raises(SaslError, match=why):
        server.final(message)


def test_a_final_message_without_a_challenge():
    with pytest.raises(SaslError, match="malformed"):
        ScramServer("s", {}, plus=False).final(b"c=biws,r=cs,p=AAAA")


def test_a_name_that_nobody_has_looks_like_any_other():
    first, again, other = (
        unknown_verifier(name, secret) for name, secret in [("eve", b"1"), ("eve", b"1"), ("eva", b"1")]
    )
    assert first == again
    assert first.salt != other.salt != unknown_verifier("eva", b"2").salt
    assert (len(first.salt), first.iterations) == (len(SALT), VERIFIER.iterations)
    assert exchange(Client(name="eve"), verifier=first) is None


def test_a_verifier_shows_no_keys():
    assert repr(VERIFIER) == f"Verifier(salt={SALT!r}, iterations=4096)"


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_octets_are_read_or_refused(first, final):
    server = ScramServer("s", EXPORTER, plus=False)
    for message, read in ((first, server.first), (b"n,,n=u,r=" + first, server.first), (final, server.final)):
        with contextlib.suppress(SaslError):
            assert read(message) is None


def test_the_client_of_the_example_of_rfc_7677():
    client = ScramClient("user", "pencil", "rOprNGfwEbeRWgbNEkqO", None)
    assert client.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    final = client.final(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert final == b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert not client.verified
    client.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert client.verified


def test_a_name_with_commas_is_escaped_and_the_flag_says_what_we_could():
    assert ScramClient("a,b=c", "x", "n", None, could_bind=True).first() == b"y,,n=a=2Cb=3Dc,r=n"
    assert ScramClient("a", "x", "n", ("tls-exporter", b"E")).first() == b"p=tls-exporter,,n=a,r=n"


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"nonsense", "malformed"),
        (b"r=mine,s=c2FsdA==,i=4096", "adds nothing"),
        (b"r=other,s=c2FsdA==,i=4096", "does not begin with ours"),
        (b"r=mine+,s=c2FsdA==,i=4095", "4095 iterations"),
        (b"r=mine+,s=c2FsdA==,i=1000001", "1000001 iterations"),
        (b"r=mine+,s=c2F,i=4096", "not base64"),
        (b"m=x,r=mine+,s=c2FsdA==,i=4096", "malformed"),
        (b"\xff", "UTF-8"),
        (b"r=mine+,s=" + b"A" * 5000, "too long"),
    ],
)
def test_what_a_server_may_not_ask(message, why):
    with pytest.raises(SaslError, match=why):
        ScramClient("user", "pencil", "mine", None).final(message)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"v=AAAA", "does not know the password"),
        (b"e=invalid-proof", "refused: invalid-proof"),
        (b"x", "malformed"),
        (b"v=A", "not base64"),
    ],
)
def test_a_server_that_does_not_prove_itself_is_not_believed(message, why):
    client = ScramClient("user", "pencil", "mine", None)
    client.final(b"r=mine+,s=c2FsdA==,i=4096")
    with pytest.raises(SaslError, match=why):
        client.verify(message)
    assert not client.verified


def test_nothing_is_verified_before_there_was_a_proof():
    with pytest.raises(SaslError, match="malformed"):
        ScramClient("user", "pencil", "mine", None).verify(b"v=AAAA")
