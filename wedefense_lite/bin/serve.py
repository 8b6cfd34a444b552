"""An HTTP service that scores recordings."""

from wedefense_lite import cli

import ipaddress
import logging
import socket
from pathlib import Path
from typing import Literal

from jsonargparse.typing import (
    NonNegativeInt,
    OpenUnitInterval,
    PositiveFloat,
    PositiveInt,
)

from wedefense_lite.files import InputError
from wedefense_lite.scoring.recording_scores import Request, find_model
from wedefense_lite.serve.limits import Limits

BACKLOG = 1024  # connections that wait to be accepted
STOP_SECONDS = 10  # for which requests are finished when the service is told to end


def serve(
    model: str | None = None,
    host: str = "127.0.0.1",
    port: NonNegativeInt = 8000,
    root_path: str = "",
    prior: OpenUnitInterval = 0.5,
    threshold: str | None = None,
    windows: Literal["first", "all"] = "all",
    merge: str = "mean",
    trim: bool = True,
    jobs: PositiveInt = 1,
    device: str = "cpu",
    max_mb: PositiveFloat = 25.0,
    max_files: PositiveInt = 20,
    max_seconds: PositiveFloat = 600.0,
    upload_seconds: PositiveFloat = 30.0,
    scoring_seconds: PositiveFloat = 60.0,
    max_uploads: PositiveInt = 16,
    max_connections: PositiveInt = 500,
) -> None:
    """Score recordings that come by HTTP: a page for people, JSON for programs.

    Recordings are scored as wedefense-lite score does, and nothing of them is kept. The service has
    no passwords and no encryption: other hosts reach it through a proxy that has both.

    Args:
        model: bundle, or experiment after stage 6; unless given, the bundle in $WEDEFENSE_MODELS.
        host: address that it listens on; others than loopback are open to the network.
        port: port that it listens on; 0 takes a free one.
        root_path: path below which a proxy offers the service, such as /detect.
        prior: probability of spoof before a recording is heard, for the posterior.
        threshold: name of a threshold of the model, such as EER, or a number; scores at or above it
            are bona fide. Unless given, the model's own.
        windows: of recordings longer than data.eval_seconds of the model, the first window, or all.
        merge: one score of several windows: mean, min, or lowest3, the mean of the three lowest.
        trim: score the speech from its first to its last segment, not what lies around it.
        jobs: processes that score.
        device: where they compute, such as cuda.
        max_mb: largest body of a request, in 10^6 bytes.
        max_files: recordings of a batch.
        max_seconds: longest recording.
        upload_seconds: time until a body has arrived.
        scoring_seconds: time until a recording is scored; a process that takes longer is replaced.
        max_uploads: requests with recordings at a time; others are told to try again.
        max_connections: connections at a time.
    """
    try:
        import uvicorn

        from wedefense_lite.serve.app import application
        from wedefense_lite.serve.observation import log_in_json
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is missing: pip install 'wedefense_lite[serve]'") from error
    from wedefense_lite.serve.pool import Pool

    if root_path and (not root_path.startswith("/") or root_path.endswith("/")):
        raise InputError(f"--root_path {root_path!r}, expected a path such as /detect")
    limits = Limits(max_mb, max_files, max_seconds, upload_seconds, scoring_seconds, max_uploads)
    request = Request(find_model(model), prior, threshold, windows, merge, trim)
    listener = listening_socket(host, port)
    log_in_json()
    pool = Pool(request, device, limits, jobs)
    try:
        name = Path(request.model).resolve().name
        config = uvicorn.Config(
            application(pool, limits, name),
            root_path=root_path,
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            backlog=BACKLOG,
            limit_concurrency=max_connections,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        place = f"{_in_url(host)}:{listener.getsockname()[1]}{root_path}/"
        logging.info("listening on http://%s", place)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        pool.close()


def listening_socket(host: str, port: int) -> socket.socket:
    """Socket that listens, before a model is loaded for it.

    Raises:
        InputError: no such address, or another program has the port.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise InputError(f"--host {host!r}, expected an address such as 127.0.0.1") from error
    if not address.is_loopback:
        logging.warning("%s is open to the network, without passwords and encryption", host)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{host} port {port}: {reason}") from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    cli.run(serve, from_hub=True, builds_systems=True)
