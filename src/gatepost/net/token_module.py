"""Look into a token through its PKCS#11 module (version 2.40), to say in plain words what is wrong with it.

Used by `net.token_trial` in a process of its own, because a vendor's module may hang or crash. Only the calls that find
a token and a private key in it; keys are used by OpenSSL's provider, whose errors name no cause.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char, c_ubyte, c_ulong, c_void_p
from typing import TYPE_CHECKING, Any, Final

from gatepost.net.token_access import TokenError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.protocols.tls.token_uri import TokenUri


# Places of functions in CK_FUNCTION_LIST, and constants of the standard.
_INITIALIZE, _FINALIZE, _GET_SLOT_LIST, _GET_TOKEN_INFO = 0, 1, 4, 6
_OPEN_SESSION, _CLOSE_SESSION, _LOGIN = 12, 13, 18
_FIND_INIT, _FIND, _FIND_FINAL = 26, 27, 28
_CKF_OS_LOCKING_OK, _CKF_SERIAL_SESSION, _CKU_USER, _CKO_PRIVATE_KEY = 2, 4, 1, 3
_CKA_CLASS, _CKA_LABEL, _CKA_ID = 0, 3, 0x102
_LOGIN_REQUIRED, _PIN_NOT_SET, _FINAL_TRY, _LOCKED = 4, 8, 0x20000, 0x40000
_OK, _ALREADY_INITIALIZED, _ALREADY_LOGGED_IN, _PIN_INCORRECT, _PIN_LOCKED = 0, 0x191, 0x100, 0xA0, 0xA4
_PIN_OTHERWISE_WRONG: Final = frozenset({0xA1, 0xA2})
_NAMES: Final = {
    0x05: "CKR_GENERAL_ERROR",
    0x06: "CKR_FUNCTION_FAILED",
    0x30: "CKR_DEVICE_ERROR",
    0x32: "CKR_DEVICE_REMOVED",
    0xA1: "CKR_PIN_INVALID",
    0xA2: "CKR_PIN_LEN_RANGE",
    0xA3: "CKR_PIN_EXPIRED",
    0xE0: "CKR_TOKEN_NOT_PRESENT",
    0xE1: "CKR_TOKEN_NOT_RECOGNIZED",
    0x102: "CKR_USER_PIN_NOT_INITIALIZED",
}
_MOST_SLOTS: Final = 1000
_SHOWN: Final = 5


class PinRefused(TokenError):  # noqa: N818 - it names what happened
    """The token says that the PIN is not the right one."""


class _TokenInfo(ctypes.Structure):
    """CK_TOKEN_INFO."""

    _fields_ = (
        ("label", c_char * 32),
        ("manufacturer", c_char * 32),
        ("model", c_char * 16),
        ("serial", c_char * 16),
        ("flags", c_ulong),
        ("counts", c_ulong * 10),
        ("versions", c_ubyte * 4),
        ("time", c_char * 16),
    )

    def text(self, name: str) -> bytes:
        """A field without the blanks that fill it."""
        field = getattr(type(self), name)
        octets = ctypes.string_at(ctypes.addressof(self) + field.offset, field.size)
        return octets.rstrip(b" \0")

    def matches(self, uri: TokenUri) -> bool:
        """Whether the URI means this token."""
        wanted = {
            "label": uri.token,
            "serial": uri.serial,
            "manufacturer": uri.manufacturer,
            "model": uri.model,
        }
        return all(self.text(name) == value for name, value in wanted.items() if value)


class _Attribute(ctypes.Structure):
    """CK_ATTRIBUTE."""

    _fields_ = (("kind", c_ulong), ("value", c_void_p), ("size", c_ulong))


class _InitializeArgs(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS: threads use the system's locks."""

    _fields_ = (("mutexes", c_void_p * 4), ("flags", c_ulong), ("reserved", c_void_p))


class TokenModule:
    """A module that is loaded and initialized. Raises TokenError if it cannot be."""

    def __init__(self, path: str) -> None:
        try:
            library = ctypes.CDLL(path)
            functions = c_void_p()
            answer = library.C_GetFunctionList(byref(functions))
        except (OSError, AttributeError) as error:
            raise TokenError(f"pkcs11.module: {path} cannot be loaded as a PKCS#11 module: {error}") from error
        if answer != _OK or not functions.value:
            raise TokenError(f"pkcs11.module: {path} has no list of functions ({_name(answer)})")
        # The list begins with its version, in as much room as a pointer.
        self._functions = ctypes.cast(functions.value + ctypes.sizeof(c_void_p), POINTER(c_void_p))
        arguments = _InitializeArgs(flags=_CKF_OS_LOCKING_OK)
        answer = self._call(_INITIALIZE, byref(arguments))
        if answer not in {_OK, _ALREADY_INITIALIZED}:
            raise TokenError(
                f"pkcs11.module: {path} cannot be initialized ({_name(answer)}); see its own configuration, and "
                "whether the gateway's account may read it"
            )

    def close(self) -> None:
        """End the use of the module by this process."""
        self._call(_FINALIZE, None)

    def find_token(self, uri: TokenUri) -> tuple[int, int]:
        """The slot and the flags of the one token that a URI means. Raises TokenError."""
        matches, others = [], []
        for slot in self._slots():
            info = _TokenInfo()
            if self._call(_GET_TOKEN_INFO, c_ulong(slot), byref(info)) != _OK:
                continue
            if info.matches(uri):
                matches.append((slot, int(info.flags)))
            elif label := info.text("label").decode("utf-8", "replace"):
                others.append(label)
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise TokenError(f"{len(matches)} tokens are {uri}: add serial= to the URI")
        shown = ", ".join(others[:_SHOWN]) or "none"
        raise TokenError(
            f"the token of {uri} is not there (tokens that are: {shown}); connect it, or correct the URI; the "
            "gateway's account must be allowed to use it"
        )

    @contextmanager
    def session(self, slot: int) -> Iterator[int]:
        """A session with the token in a slot. Raises TokenError."""
        handle = c_ulong()
        self._check(
            "C_OpenSession",
            self._call(_OPEN_SESSION, c_ulong(slot), c_ulong(_CKF_SERIAL_SESSION), None, None, byref(handle)),
        )
        try:
            yield handle.value
        finally:
            self._call(_CLOSE_SESSION, handle)

    def log_in(self, session: int, flags: int, pin: str) -> None:
        """Log in as the user, if the token has it so. Raises PinRefused, TokenError."""
        if not flags & _LOGIN_REQUIRED:
            return
        if flags & _LOCKED:
            raise TokenError("the token is locked after wrong PINs; its security officer must set a new user PIN")
        if flags & _FINAL_TRY:
            raise TokenError(
                "the token has one try of its PIN left, which the gateway does not use; log in once by hand with the "
                "right PIN, with pkcs11-tool (docs/tokens.md)"
            )
        if not flags & _PIN_NOT_SET:
            raise TokenError("the token has no user PIN yet; initialize it")
        if not pin:
            raise TokenError("the token needs a PIN: set pkcs11.pin")
        octets = pin.encode("utf-8", "surrogateescape")
        answer = self._call(_LOGIN, c_ulong(session), c_ulong(_CKU_USER), octets, c_ulong(len(octets)))
        if answer in _PIN_OTHERWISE_WRONG or answer == _PIN_INCORRECT:
            raise PinRefused("the token refused the PIN of pkcs11.pin")
        if answer == _PIN_LOCKED:
            raise PinRefused("the token is locked after wrong PINs; its security officer must set a new user PIN")
        if answer != _ALREADY_LOGGED_IN:
            self._check("C_Login", answer)

    def find_key(self, session: int, uri: TokenUri) -> None:
        """Raises TokenError unless there is exactly one private key that the URI means."""
        sought = [(_CKA_CLASS, bytes(c_ulong(_CKO_PRIVATE_KEY)))]
        sought += [(_CKA_LABEL, uri.object)] if uri.object else []
        sought += [(_CKA_ID, uri.id)] if uri.id else []
        buffers = [ctypes.create_string_buffer(value, len(value)) for _, value in sought]
        template = (_Attribute * len(sought))(
            *(
                _Attribute(kind, ctypes.cast(buffer, c_void_p), len(value))
                for (kind, value), buffer in zip(sought, buffers, strict=True)
            )
        )
        self._check("C_FindObjectsInit", self._call(_FIND_INIT, c_ulong(session), template, c_ulong(len(sought))))
        handles, count = (c_ulong * 2)(), c_ulong()
        answer = self._call(_FIND, c_ulong(session), handles, c_ulong(2), byref(count))
        self._call(_FIND_FINAL, c_ulong(session))
        self._check("C_FindObjects", answer)
        if count.value == 0:
            raise TokenError(f"the token has no private key {uri}; pkcs11-tool lists its keys (docs/tokens.md)")
        if count.value > 1:
            raise TokenError(f"the token has several private keys {uri}: add id= to the URI")

    def _slots(self) -> list[int]:
        count = c_ulong()
        self._check("C_GetSlotList", self._call(_GET_SLOT_LIST, c_ubyte(1), None, byref(count)))
        count = c_ulong(min(count.value, _MOST_SLOTS))
        slots = (c_ulong * max(count.value, 1))()
        self._check("C_GetSlotList", self._call(_GET_SLOT_LIST, c_ubyte(1), slots, byref(count)))
        return list(slots[: count.value])

    def _call(self, place: int, *arguments: Any) -> int:
        function = ctypes.CFUNCTYPE(c_ulong)(self._functions[place] or 0)
        return int(function(*arguments))

    def _check(self, call: str, answer: int) -> None:
        if answer != _OK:
            raise TokenError(f"the token does not work: {call} says {_name(answer)}")


def _name(answer: int) -> str:
    return _NAMES.get(answer, f"CKR 0x{answer:x}")
