"""The HTTP service: a page, a recording, a batch of them, health and metrics."""

from wedefense_lite import __version__

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jinja2
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from wedefense_lite.audio.reading import headerless_format
from wedefense_lite.files import InputError
from wedefense_lite.serve.limits import MAX_PEAKS, Limits
from wedefense_lite.serve.observation import LOG, Metrics, Observer
from wedefense_lite.serve.pool import Pool, Reply, ScoringError, TooSlow, Upload

PAGE = Path(__file__).with_name("page.html")
# Of the page: the text of its style and of its script, which its policy names by their hashes.
INLINE = {tag: re.compile(rf"<{tag}>(.*?)</{tag}>", re.DOTALL) for tag in ("style", "script")}
RETRY_SECONDS = "2"
MAX_FIELDS = 20  # of a form, beside its files


class Parser(MultiPartParser):
    """Parser of forms that keeps files in memory, and notices where a form ends too early."""

    is_complete = False

    def on_end(self) -> None:
        """The last boundary was read."""
        self.is_complete = True


class Service:
    """Handlers of requests.

    Args:
        pool: processes that score.
        limits: of what is sent.
        title: name of the model, for the page.
    """

    def __init__(self, pool: Pool, limits: Limits, title: str):
        self.pool = pool
        self.limits = limits
        self.title = title
        self.metrics = Metrics(lambda: pool.restarts)
        self.uploads = 0
        self.page = jinja2.Template(PAGE.read_text(encoding="utf-8"), autoescape=True)

    # ---- Pages of people and of operators

    async def show_page(self, request: Request) -> Response:
        """The page of uploads."""
        root = request.scope.get("root_path", "")
        text = self.page.render(root=root, title=self.title, limits=self.limits)
        return HTMLResponse(text, headers={"Content-Security-Policy": policy(text)})

    async def show_health(self, _request: Request) -> Response:
        """Whether the service runs, and with what."""
        model = {"name": self.title, **self.pool.model}
        return JSONResponse({"status": "ok", "version": __version__, "model": model})

    async def show_metrics(self, _request: Request) -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    # ---- Recordings

    async def score_one(self, request: Request) -> Response:
        """Row of the recording in the field ``file`` of a form."""
        num_peaks = _number_of_peaks(request)
        with self._slot():
            files = await self._read_form(request)
            if len(files) != 1:
                raise HTTPException(400, f"{len(files)} files, expected one: /batch takes several")
            reply = await self._score(files[0], num_peaks)
        if reply.scored.llr is None:
            return _refusal(422, reply.scored.note)
        fields = reply.scored.fields()
        if num_peaks:
            fields["waveform"] = reply.peaks
        return JSONResponse(fields)

    async def score_batch(self, request: Request) -> Response:
        """Rows of all files of a form, in order; one without a score ends nothing."""
        with self._slot():
            files = await self._read_form(request)
            rows = []
            for file in files:
                try:
                    reply = await self._score(file, 0)
                    rows.append(reply.scored.fields())
                except HTTPException as error:
                    if error.status_code != 422:
                        raise
                    rows.append({"path": file.filename, "llr": None, "note": error.detail})
        return JSONResponse({"recordings": rows})

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Place among the uploads at a time.

        Raises:
            HTTPException: there is none.
        """
        if self.uploads >= self.limits.max_uploads:
            reason = f"{self.uploads} uploads at a time are all that is taken: try again"
            raise HTTPException(503, reason, {"Retry-After": RETRY_SECONDS})
        self.uploads += 1
        self.metrics.uploads.inc()
        try:
            yield
        finally:
            self.uploads -= 1
            self.metrics.uploads.dec()

    async def _read_form(self, request: Request) -> list[UploadFile]:
        """Files of a form, in memory.

        Raises:
            HTTPException: no form, none of its files, too large, too slow, or cut off.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            reason = f"content type {kind[:80]!r}, expected multipart/form-data with a file"
            raise HTTPException(415, reason)
        limits = self.limits
        stated = request.headers.get("content-length", "")
        if stated.isdigit() and int(stated) > limits.max_bytes:
            raise HTTPException(413, self._too_large())
        parser = Parser(
            request.headers,
            self._limited(request),
            max_files=limits.max_files,
            max_fields=MAX_FIELDS,
        )
        parser.spool_max_size = limits.max_bytes + 1  # never on a disk
        try:
            async with asyncio.timeout(limits.upload_seconds):
                form = await parser.parse()
        except TimeoutError as error:
            reason = f"the body has not arrived within {limits.upload_seconds:g} s"
            raise HTTPException(408, reason, {"Connection": "close"}) from error
        except MultiPartException as error:
            raise HTTPException(400, f"form: {error.message}") from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the connection has ended before the body") from error
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not parser.is_complete:
            raise HTTPException(400, "form: it ends before its last boundary")
        if not files:
            raise HTTPException(400, "form: no file in it")
        return files

    async def _limited(self, request: Request) -> AsyncIterator[bytes]:
        """Parts of a body.

        Raises:
            HTTPException: it is too large.
        """
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self.limits.max_bytes:
                raise HTTPException(413, self._too_large())
            yield part

    def _too_large(self) -> str:
        return f"body: larger than {self.limits.max_mb:g} MB"

    async def _score(self, file: UploadFile, num_peaks: int) -> Reply:
        """Row of a recording, which has the name that its client gave it.

        Raises:
            HTTPException: there is no row.
        """
        data = await file.read()
        await file.close()
        name = file.filename or ""
        upload = Upload(data, headerless_format(name.rpartition(".")[2]), num_peaks)
        try:
            reply = await asyncio.wrap_future(self.pool.submit(upload))
        except TooSlow as error:
            self.metrics.recordings.labels("refused").inc()
            raise HTTPException(422, str(error)) from error
        except (ScoringError, InputError) as error:
            self.metrics.recordings.labels("refused").inc()
            LOG.error("a recording was not scored", exc_info=error)
            raise HTTPException(500, str(error)) from error
        self.metrics.recordings.labels(reply.scored.decision or "refused").inc()
        return replace(reply, scored=replace(reply.scored, path=name))


def _number_of_peaks(request: Request) -> int:
    """Parts of the waveform that a request asks for by ``?waveform=``.

    Raises:
        HTTPException: no such number.
    """
    text = request.query_params.get("waveform", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= MAX_PEAKS):
        raise HTTPException(400, f"waveform {text[:20]!r}, expected 0 to {MAX_PEAKS}")
    return int(text)


def policy(page: str) -> str:
    """Content security policy of a page: its own style and script, requests to its own host, and
    audio that the browser has.
    """
    sources = ["default-src 'none'"]
    for tag, pattern in INLINE.items():
        hashes = []
        for text in pattern.findall(page):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            hashes.append(f"'sha256-{digest}'")
        sources.append(f"{tag}-src {' '.join(hashes)}")
    sources += ["connect-src 'self'", "media-src blob:", "img-src data:"]
    sources += ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    return "; ".join(sources)


def _refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": reason}, status, headers)


async def _refuse(_request: Request, error: HTTPException) -> Response:
    """Reply to a request that was refused."""
    return _refusal(error.status_code, error.detail, error.headers)


async def _fail(_request: Request, _error: Exception) -> Response:
    """Reply to a request that met a defect; the log has its type."""
    return _refusal(500, "a defect of the service, which its log names")


def application(pool: Pool, limits: Limits, title: str) -> Starlette:
    """The service as an ASGI application.

    Args:
        pool: processes that score.
        limits: of what is sent.
        title: name of the model, for the page.
    """
    service = Service(pool, limits, title)
    routes = [
        Route("/", service.show_page),
        Route("/health", service.show_health),
        Route("/metrics", service.show_metrics),
        Route("/score", service.score_one, methods=["POST"]),
        Route("/batch", service.score_batch, methods=["POST"]),
    ]
    paths = frozenset(route.path for route in routes)
    observer = Middleware(Observer, metrics=service.metrics, routes=paths)
    handlers = {HTTPException: _refuse, Exception: _fail}
    return Starlette(routes=routes, middleware=[observer], exception_handlers=handlers)
