"""Send spans to an OpenTelemetry receiver: OTLP over HTTP, in batches, on a thread of its own.

Made by `node.observation` if `[otel] endpoint` is set; imports the libraries of the extra `gatepost[otel]`, so import
this module where it is used. A receiver that is slow or down costs spans and never mail: what waits is bounded, what is
lost is counted, and it is said once. Redirections are not followed, answers are read up to a bound, the environment's
proxies and passwords are not used.
"""

from __future__ import annotations

import io
import logging
import ssl
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from requests.adapters import HTTPAdapter

from gatepost import __version__
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.http import https_context
from gatepost.pki.certificates.vault import VaultError, read_secret
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.events.spans import Span
    from gatepost.settings.model import Settings
    from gatepost.settings.sections import Otel


_INTERVAL: Final = 1.0  # seconds between two batches that are not full
_BATCH: Final = 512
_MOST: Final = 10_000  # spans that wait
_TIMEOUT: Final = 5.0  # of one batch, tries included
_PATIENCE: Final = 2.5  # at the end; the supervisor gives workers five beyond their drain
_GIVING_UP: Final = 1.0
_ANSWER: Final = 65536
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}

_log = logging.getLogger(__name__)


def receiver_secret(otel: Otel) -> str:
    """Read the secret of `otel.secret`, without white space around it. Raises VaultError."""
    what = "secret of the receiver of traces"
    secret = read_secret(otel.secret, what=what, gone="write there what the receiver asks for").strip()
    try:
        text = secret.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise VaultError(f"the {what} must be one line of ASCII, and not empty")
    return text


class SpanExport:
    """settings: those of the server. worker: whose spans these are."""

    def __init__(self, settings: Settings, worker: int) -> None:
        self._refused = self._failed = 0  # each counted on a thread of its own
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it is said here, and once
        otel = settings.otel
        self._host = urlsplit(otel.endpoint).netloc
        self._session = _Session(otel, _context(settings))
        self._exporter = OTLPSpanExporter(
            endpoint=otel.endpoint, timeout=_TIMEOUT, compression=Compression.Gzip, session=self._session
        )
        self._maker = SpanMaker(settings, worker)
        self._waiting: deque[Span] = deque()
        self._posting = 0
        self._lost = 0  # of this outage
        self._down = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def put(self, spans: Sequence[Span]) -> None:
        """Take spans to send; those for which there is no room are lost. Never waits."""
        room = max(0, _MOST - len(self._waiting))
        self._waiting.extend(spans[:room])
        self._refused += len(spans[room:])

    @property
    def dropped(self) -> int:
        """Spans that were lost, in all."""
        return self._refused + self._failed

    def close(self) -> None:
        """Send what waits, for some seconds at most; the rest is lost. Blocks."""
        self._closing.set()
        self._thread.join(_PATIENCE)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # no further try
        self._thread.join(_GIVING_UP)
        if self._thread.is_alive():  # in a call that goes on until its time is over
            self._failed += self._posting + len(self._waiting)

    def _run(self) -> None:
        while not self._closing.wait(_INTERVAL):
            self._empty()
        self._empty()

    def _empty(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            self._posting = len(batch)
            if not self._sent(batch):
                self._lose(len(batch))
                if self._closing.is_set():
                    self._lose(len(self._waiting))
                    return

    def _sent(self, batch: Sequence[Span]) -> bool:
        try:
            sent = self._exporter.export(self._maker.made(batch)) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - whatever it was, the next batch is tried
            _log.exception("spans cannot be made")
            return False
        if sent and self._down:
            _log.info("%s takes traces again; lost %s", self._host, quantity(self._lost, "span"))
            self._down, self._lost = False, 0
        elif not sent and not self._down:
            self._down = True
            why = self._session.failure or "it did not answer in time"
            _log.warning(
                "traces cannot be sent to %s: %s; mail is not concerned, spans are lost until it takes them",
                self._host,
                why,
            )
        return sent

    def _lose(self, count: int) -> None:
        self._failed += count
        self._lost += count


class SpanMaker(SpanProcessor):
    """Makes the library's spans of ours, by its own tracer."""

    def __init__(self, settings: Settings, worker: int) -> None:
        hostname = settings.server.hostname
        resource = Resource(
            {
                "service.name": settings.otel.service_name,
                "service.version": __version__,
                "service.instance.id": f"{hostname}/{worker}",
                "host.name": hostname,
            }
        )
        self._ids = _Ids()
        self._made: list[ReadableSpan] = []
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(self)
        self._tracer = provider.get_tracer("gatepost", __version__)

    def made(self, spans: Sequence[Span]) -> list[ReadableSpan]:
        """The same spans, ended."""
        self._made = []
        for span in spans:
            self._make(span)
        return self._made

    def _make(self, span: Span) -> None:
        self._ids.take(span)
        context = Context()
        if span.parent_id:
            parent = SpanContext(span.trace_id, span.parent_id, is_remote=True, trace_flags=_SAMPLED)
            context = set_span_in_context(NonRecordingSpan(parent), context)
        made = self._tracer.start_span(
            span.name, context, _KINDS[span.kind], dict(span.attributes), start_time=span.start
        )
        if span.failure:
            made.set_status(Status(StatusCode.ERROR, span.failure))
        made.end(span.end)

    def on_end(self, span: ReadableSpan) -> None:
        """Called by the library when a span is whole."""
        self._made.append(span)


class _Ids(IdGenerator):
    """The ids of the span that is made next, if it is to have certain ones."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._trace_id = self._span_id = 0

    def take(self, span: Span) -> None:
        self._trace_id, self._span_id = span.trace_id, span.span_id

    def generate_trace_id(self) -> int:
        return self._trace_id

    def generate_span_id(self) -> int:
        return self._span_id or self._random.generate_span_id()


class _Session(requests.Session):
    """failure: why the last request failed, in words of ours."""

    def __init__(self, otel: Otel, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self.failure = ""
        self.trust_env = False
        self.headers["Accept-Encoding"] = "identity"
        self._otel = otel
        adapter = _Adapter(context)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Raises requests' exceptions and VaultError, which the exporter takes for what they are: a failure."""
        try:
            own = {self._otel.header.lower(): receiver_secret(self._otel)} if self._otel.secret else {}
            kwargs["headers"] = {**kwargs.get("headers", {}), **own}
            answer = super().request(*args, **kwargs)
        except (requests.RequestException, VaultError) as failure:
            self.failure = _words(failure)
            raise
        self.failure = "" if answer.ok else f"it answers with HTTP status {answer.status_code}"
        if answer.is_redirect or 300 <= answer.status_code < 400:
            self.failure = f"it answers with HTTP status {answer.status_code}, and redirections are not followed"
            raise requests.TooManyRedirects(self.failure)  # the exporter would take it for a success
        return answer


def _words(failure: Exception) -> str:
    if isinstance(failure, VaultError):
        return str(failure)
    if isinstance(failure, requests.exceptions.SSLError):
        return "TLS failed; is its certificate by one of tls.trust_anchors, and for this name?"
    if isinstance(failure, requests.Timeout):
        return "it did not answer in time"
    if isinstance(failure, requests.ConnectionError):
        return "no connection"
    return "it does not speak HTTP as it should"


class _Adapter(HTTPAdapter):
    """context: checks the certificate of an https server."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """The receiver is trusted by our anchors, and no others."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Add no other anchors: the context has them."""

    def send(self, request: Any, *_: Any, timeout: Any = None, **__: Any) -> requests.Response:
        """Raises requests' exceptions."""
        response = super().send(request, stream=True, timeout=timeout, verify=True)
        data = response.raw.read(_ANSWER, decode_content=True)
        if response.raw.read(1):
            response.close()
        response.raw = io.BytesIO(data)
        return response


def _context(settings: Settings) -> ssl.SSLContext | None:
    if not settings.otel.endpoint.startswith("https:"):
        return None
    try:
        return https_context(TrustAnchors.load(settings.tls.trust_anchors))
    except AnchorsError as error:
        _log.error("traces cannot be sent: tls.trust_anchors: %s", error)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which trusts nobody
