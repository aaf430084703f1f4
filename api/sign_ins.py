"""Sign-ins: where a user is signed in, and ending that. Admins see and end those of every user."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from api.access import AUTH_REQUIRED, access_for
from api.context import RequestContext
from api.endpoint import Api
from api.listing import Listing
from api.pagination import BY_ID, PageQuery
from api.schemas import PathId, ResponseModel
from bookit import refusals as no
from bookit.people import sign_ins
from bookit.schema.tables import SignIn, User

api = Api()
TAG = "accounts"

LASTING_SIGN_INS = Listing(sign_ins.SELECT_LASTING, BY_ID)


class SignInResponse(ResponseModel):
    """One place where a user is signed in."""

    id: int
    door: Annotated[Literal["api", "admin"], Field(description="`admin` is the staff panel.")]
    created_at: datetime
    last_seen_at: Annotated[datetime, Field(description="Written every few minutes.")]
    ends_at: Annotated[datetime, Field(description="When it ends if it is not used again.")]
    address: Annotated[str, Field(description="The IP address from which it was used, or an empty text.")]
    browser: Annotated[str, Field(description="The browser or client in words, or an empty text.")]
    second_factor: str | None
    is_current: Annotated[bool, Field(description="Whether this request belongs to it.")]


SignIns: Any = list[SignInResponse]


@api("GET", "/me/sign-ins", tag=TAG, access=AUTH_REQUIRED)
async def list_own_sign_ins(context: RequestContext, query: PageQuery) -> SignIns:
    """List where you are signed in."""
    return await fetch_page(context, query, context.require_user().id)


@api("DELETE", "/me/sign-ins", tag=TAG, access=AUTH_REQUIRED, status=204)
async def end_other_sign_ins(context: RequestContext) -> None:
    """Sign out everywhere else."""
    async with context.transaction() as session:
        await sign_ins.end_all(session, user_id=context.require_user().id, **context.actor_and_time)


@api("DELETE", "/me/sign-ins/{id}", tag=TAG, access=AUTH_REQUIRED, status=204, refusals=(no.Missing,))
async def end_own_sign_in(context: RequestContext, id: PathId) -> None:
    """End one of your sign-ins. Its access token and its refresh token stop working at once."""
    async with context.transaction() as session:
        await sign_ins.end(session, id, user_id=context.require_user().id, **context.actor_and_time)


@api("GET", "/users/{id}/sign-ins", tag=TAG, access=access_for("see", SignIn), refusals=(no.Missing,))
async def list_sign_ins_of_user(context: RequestContext, id: PathId, query: PageQuery) -> SignIns:
    """As an admin, list where a user is signed in."""
    await require_user(context, id)
    return await fetch_page(context, query, id)


@api("DELETE", "/users/{id}/sign-ins", tag=TAG, access=access_for("remove", SignIn), status=204, refusals=(no.Missing,))
async def end_sign_ins_of_user(context: RequestContext, id: PathId) -> None:
    """As an admin, sign a user out everywhere; yourself everywhere else."""
    await require_user(context, id)
    async with context.transaction() as session:
        await sign_ins.end_all(session, user_id=id, **context.actor_and_time)


@api(
    "DELETE",
    "/users/{id}/sign-ins/{sign_in_id}",
    tag=TAG,
    access=access_for("remove", SignIn),
    status=204,
    refusals=(no.Missing,),
)
async def end_sign_in_of_user(context: RequestContext, id: PathId, sign_in_id: PathId) -> None:
    """As an admin, end one sign-in of a user."""
    async with context.transaction() as session:
        await sign_ins.end(session, sign_in_id, user_id=id, **context.actor_and_time)


async def require_user(context: RequestContext, user_id: int) -> None:
    if await context.database.get(User, user_id) is None:
        raise no.Missing(what="user")


async def fetch_page(context: RequestContext, query: PageQuery, user_id: int) -> Any:
    current_id = context.by.sign_in_id
    return await LASTING_SIGN_INS.fetch_page(context, query, user_id=user_id, current_id=current_id, now=context.now)
