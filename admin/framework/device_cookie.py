"""The cookie that says who has signed in on this device before. It outlives the sign-in, and signs nobody in."""

from starlette.requests import Request
from starlette.responses import Response

from admin.framework.context import context_of
from admin.framework.session_cookie import is_plain_allowed
from bookit.people import devices

PLAIN_NAME = "bookit_device"
SECURE_NAME = f"__Secure-{PLAIN_NAME}"


def read_device_token(request: Request) -> str:
    """Return the token of the device, or ""."""
    return request.cookies.get(PLAIN_NAME if is_plain_allowed(request.scope) else SECURE_NAME, "")


def set_device_cookie(answer: Response, request: Request, user_id: int) -> None:
    """Let the browser remember that this user has signed in on it."""
    context, is_plain = context_of(request), is_plain_allowed(request.scope)
    answer.set_cookie(
        PLAIN_NAME if is_plain else SECURE_NAME,
        devices.create_token(user_id, context.settings.secrets, now=context.now()),
        max_age=round(devices.LIFETIME.total_seconds()),
        path="/admin/login",
        secure=not is_plain,
        httponly=True,
        samesite="lax",
    )
