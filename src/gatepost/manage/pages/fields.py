"""Forms of resources, made from the declarations of their fields: what is asked, how, and what the answers make. Pure.

An answer that is left empty is not written: the field has its default then. Whether a value is right says
`policy.connectors.model.parse`, as for every other interface.
"""

from __future__ import annotations

import re
from enum import StrEnum
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

from gatepost.language import _
from gatepost.manage.pages.account_forms import located
from gatepost.manage.pages.code_labels import choice_text, shown_label, value_label
from gatepost.manage.pages.text_filters import in_words, sentence, texts_by_field
from gatepost.policy.connectors.fields import Form
from gatepost.policy.connectors.record_base import form_of, keys, record_in
from gatepost.sentences import ours

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from gatepost.policy.connectors.errors import FieldError


_WORDS: Final = {
    "tls": "TLS", "ip": "IP", "ipv4": "IPv4", "ipv6": "IPv6", "mta": "MTA", "sts": "STS", "mx": "MX", "smtp": "SMTP",
    "dane": "DANE", "dkim": "DKIM", "smime": "S/MIME", "requiretls": "REQUIRETLS", "id": "ID", "jwks": "JWKS",
    "url": "URL",
}  # fmt: skip
_INTEGER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_QUOTED: Final = re.compile(r'"([^"]+)"')
_COLON: Final = re.compile(r"^(duration|size): ")
_INDEX: Final = re.compile(r"\[\d+\]")


class Control(StrEnum):
    """Form control of a field. LONG: one text of many lines; LINES: a list."""

    TEXT = "text"
    LONG = "long"
    NUMBER = "number"
    LINES = "lines"
    CHOICE = "choice"


class FormField(NamedTuple):
    """key: of the field, with the table's before a dot. format: what a value looks like, a sentence, "" for any text.

    default: "" where it has none. choices: pairs of value and text, for CHOICE.
    """

    key: str
    label: str
    control: Control
    meaning: str
    format: str
    required: bool
    default: str
    choices: tuple[tuple[str, str], ...] = ()


def label_of(key: str) -> str:
    """A field's name for people, in the language of the page."""
    return _(english_label(key))


def english_label(key: str) -> str:
    """A field's name for people: "TLS sender certificate name"."""
    words = [_WORDS.get(word, word) for word in key.rpartition(".")[2].split("_")]
    text = " ".join(words).replace("MTA STS", "MTA-STS")
    return text[:1].upper() + text[1:]


def form_fields(model: type[BaseModel], *, without: Sequence[str] = ()) -> tuple[FormField, ...]:
    """Every field of a resource that is not a list of resources, in the order of the declaration."""
    return tuple(form_field for form_field in _form_fields(model, "") if form_field.key not in without)


def _form_fields(model: type[BaseModel], prefix: str) -> Iterator[FormField]:
    defaults = model.model_construct().model_dump(mode="json", by_alias=True)
    for key, info in keys(model).items():
        if info.alias is not None:
            continue
        inner = record_in(info.annotation)
        if inner is not None:
            yield from _form_fields(inner, f"{key}.")
            continue
        yield _form_field(prefix + key, info, "" if info.default_factory else in_words(defaults.get(key)))


def _form_field(key: str, info: FieldInfo, default: str) -> FormField:
    kind, control = _plain(info.annotation), Control.TEXT
    choices: tuple[tuple[str, str], ...] = ()
    if kind is bool:
        control, choices = Control.CHOICE, (("true", _("Yes")), ("false", _("No")))
        default = {"true": "yes", "false": "no"}.get(default, "")
    elif isinstance(kind, type) and issubclass(kind, StrEnum):
        control, choices = Control.CHOICE, tuple((str(value), choice_text(str(value))) for value in kind)
    elif get_origin(kind) is tuple:
        control = Control.LINES
    elif kind is int:
        control = Control.NUMBER
    elif any(isinstance(form, Form) and form.long for form in info.metadata):
        control = Control.LONG
    meaning = _with_labels(_(info.description or ""), choices)
    if control is Control.CHOICE and not info.is_required():
        choices = (("", _("Default (%(value)s)", value=shown_label(default)) if default else _("Default")), *choices)
    written = _format(control, form_of(info.annotation, info.metadata), info.description or "")
    return FormField(key, label_of(key), control, meaning, written, info.is_required(), default, choices)


def _with_labels(meaning: str, choices: Iterable[tuple[str, str]]) -> str:
    """The meaning, with the label of a choice before what it says of that: "Rehearse: the gateway only reports …"."""
    for code, text in choices:
        label = text.removesuffix(f" ({code})")
        meaning = re.sub(rf"(?<![\w-]){re.escape(code)}:(?= )", f"{label}:", meaning)
    return meaning


def _format(control: Control, form: str, meaning: str) -> str:
    """A hint for the field: "One domain per line.", "" if its meaning says it. form: as docs/resources.md has it."""
    if control is Control.LINES:
        item = form.removeprefix("list of: ")
        if item.startswith('"') and " or " not in item:
            return _("One per line: %(format)s.", format=item)
        return _("One %(item)s per line.", item=_("entry" if item == "text" else item))
    quoted = _QUOTED.findall(form)
    is_said = form in {"text", "path"} or form.startswith(("name of ", "label of "))
    is_said |= bool(quoted) and all(quote in meaning for quote in quoted)
    if control is Control.CHOICE or is_said:
        return ""
    return _("Format: %(format)s.", format=_(written_form(form)))


def written_form(form: str) -> str:
    """Describe a value, after "Format:". form: as docs/resources.md has it."""
    return _COLON.sub(r"\1 such as ", form).removeprefix("text of ")


def declared_texts(model: type[BaseModel]) -> Iterator[str]:
    """English texts that a form of the resource may show and that no source has as they are, for the catalogues."""
    for key, info in keys(model).items():
        yield english_label(key)
        yield info.description or ""
        inner, kind = record_in(info.annotation), _plain(info.annotation)
        if inner is not None:
            yield from declared_texts(inner)
            continue
        form = form_of(info.annotation, info.metadata)
        yield form.removeprefix("list of: ") if form.startswith("list of: ") else written_form(form)
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            yield from (value_label(str(value)) for value in kind)


def _plain(annotation: Any) -> Any:
    """The type without what surrounds it, and without the None that stands for "not written"."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return next(_plain(argument) for argument in get_args(annotation) if argument is not type(None))
    return annotation


def texts_of(fields: Sequence[FormField], table: Mapping[str, Any]) -> dict[str, str]:
    """Texts of a form's fields: the configured values of a resource."""
    result = {}
    for field in fields:
        outer, dot, inner = field.key.partition(".")
        value = table.get(outer)
        if dot:
            value = (value or {}).get(inner)
        result[field.key] = _written(value)
    return result


def _written(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return value.strip() if isinstance(value, str) else in_words(value)


def values_of(fields: Sequence[FormField], given: Mapping[str, str]) -> dict[str, Any]:
    """Values from a form, as `manage.use_cases.resources` takes them: None is not configured."""
    found: dict[str, Any] = {}
    for field in fields:
        outer, dot, inner = field.key.partition(".")
        value = _value(field, given.get(field.key, "").replace("\r\n", "\n").strip())
        if dot:
            table = found.setdefault(outer, {})
            table[inner] = value
        else:
            found[field.key] = value
    return {key: _or_none(value) for key, value in found.items()}


def _or_none(value: Any) -> Any:
    """A table of which nothing is written is not written itself."""
    return None if isinstance(value, dict) and all(item is None for item in value.values()) else value


def _value(form_field: FormField, text: str) -> Any:
    if not text:
        return None
    if form_field.control is Control.LINES:
        return list(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))
    if text in {"true", "false"} and form_field.control is Control.CHOICE:
        return text == "true"
    if form_field.control is Control.NUMBER and _INTEGER.fullmatch(text):
        return int(text)
    return text


def errors_by_field(fields: Sequence[FormField], errors: Sequence[FieldError], text: str) -> dict[str, str]:
    """For a form: what is wrong by field, "" for what is of none. text: where there are no errors by field."""
    known = {field.key for field in fields} | {"organization"}
    said = ((_key_of(error, known), error) for error in errors)
    return texts_by_field(said, _worded) or {"": ours(text)}


def _key_of(error: FieldError, known: Collection[str]) -> str:
    key = _INDEX.sub("", error.path)
    while key and key not in known:
        key = key.rpartition(".")[0]
    return key


def _worded(key: str, error: FieldError) -> str:
    return sentence(ours(error.message)) if key else located(error)
