"""The HTTP status of each kind of refusal, the same at both doors."""

from collections.abc import Mapping

from bookit import refusals as no

STATUS_BY_KIND: Mapping[type[no.Refusal], int] = {
    no.Invalid: 400,
    no.Unauthenticated: 401,
    no.Forbidden: 403,
    no.Missing: 404,
    no.Conflict: 409,
    no.Stale: 412,
    no.Misshapen: 422,
    no.TooMany: 429,
    no.Busy: 503,
}

RETRY_AFTER = "Retry-After"


def status_of(refusal: type[no.Refusal]) -> int:
    """Return the status of a refusal: that of its kind."""
    return next(status for kind, status in STATUS_BY_KIND.items() if issubclass(refusal, kind))


def retry_headers(refusal: no.Refusal) -> dict[str, str]:
    """Return the header that says when to try again, for a refusal that does not last."""
    if isinstance(refusal, no.Busy | no.TooMany):
        return {RETRY_AFTER: str(refusal.retry_after_seconds)}
    return {}
