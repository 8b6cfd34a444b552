"""Limits of the service, by which one client leaves room for the others."""

from dataclasses import dataclass

MAX_PEAKS = 4000  # parts of a waveform that a reply draws
DRAIN_SECONDS = 5.0  # for which what a refused client still sends is read, so that it gets a reply


@dataclass(frozen=True)
class Limits:
    """Limits of what is sent, and of the time that it takes.

    Attributes:
        max_mb: bytes of the body of a request, in 10^6.
        max_files: recordings of a batch.
        max_seconds: length of a recording.
        upload_seconds: time until a body has arrived.
        scoring_seconds: time until a recording is scored, without that of waiting for its turn.
        max_uploads: requests with recordings at a time, those that wait for their turn included.
    """

    max_mb: float = 25.0
    max_files: int = 20
    max_seconds: float = 600.0
    upload_seconds: float = 30.0
    scoring_seconds: float = 60.0
    max_uploads: int = 16

    @property
    def max_bytes(self) -> int:
        """Bytes of the body of a request."""
        return round(self.max_mb * 1e6)
