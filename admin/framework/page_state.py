"""What the parts of one request hand to each other: SQLAdmin calls them one by one and passes none of it on."""

from dataclasses import dataclass, field
from typing import TypeVar, cast

from sqlmodel import SQLModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from wtforms import Form

from bookit import refusals as no
from bookit.policy.permissions import Actor
from bookit.schema.tables import User

T = TypeVar("T")


@dataclass
class PageState:
    """One request: who sent it, and what its page is to show."""

    user: User | None = None  # who has signed in
    sign_in_id: int | None = None  # by which sign-in
    lacks_second_factor: bool = False  # that they must have
    rows: dict[str, SQLModel | None] = field(default_factory=dict)  # by id: SQLAdmin asks for a row twice or more
    form: Form | None = None  # the form that was sent, on which a refusal is shown
    refusal: no.Refusal | None = None  # gives the page its status
    is_repeat: bool = False  # whether the form that was sent had been saved before
    edit_conflict: object = None  # what stale_edit.html shows
    who_may: str = ""  # for which roles something is that the user may not do; a page of status 403 says it
    email: str = ""  # as typed on the sign-in page
    search_term: str = ""  # as typed in the search box
    parts: dict[type[object], object] = field(default_factory=dict)  # see ``part``

    @property
    def actor(self) -> Actor:
        """The user as the one who acts, or a visitor."""
        return actor_of(self.user, self.sign_in_id) if self.user else Actor("admin")

    def part(self, kind: type[T]) -> T:
        """Return this request's instance of a class that only the pages of one subject know."""
        if kind not in self.parts:
            self.parts[kind] = kind()
        return cast("T", self.parts[kind])


def actor_of(user: User, sign_in_id: int | None = None) -> Actor:
    """Return a user as the one who acts at this door."""
    return Actor.of("admin", user, sign_in_id)


def page_state(request: Request) -> PageState:
    """Return the state of this request, which its first reader makes."""
    if not hasattr(request.state, "page"):
        request.state.page = PageState()
    page: PageState = request.state.page
    return page


def signed_in_user(request: Request) -> User:
    """Return the user who has signed in. Raise 403 for a visitor."""
    user = page_state(request).user
    if user is None:
        raise HTTPException(403)
    return user
