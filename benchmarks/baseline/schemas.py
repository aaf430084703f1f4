"""The bodies of requests and responses."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["pending", "confirmed", "cancelled", "completed"]


class NewUser(BaseModel):
    """The body of a registration."""

    name: str = Field(min_length=1, max_length=100)
    email: str = Field(max_length=255, pattern="@")
    password: str = Field(min_length=8, max_length=72)


class SignIn(BaseModel):
    """The body of a sign-in."""

    email: str
    password: str


class Token(BaseModel):
    """An access token."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 -- the type of the token


class NewService(BaseModel):
    """The body of a new service."""

    title: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=1000)
    price: Decimal = Field(ge=0)
    duration_minutes: int = Field(gt=0)
    is_active: bool = True


class NewBooking(BaseModel):
    """The body of a new booking."""

    service_id: int
    start_time: datetime


class ChangedBooking(BaseModel):
    """The body of a status change."""

    status: Status


class NewReview(BaseModel):
    """The body of a review."""

    booking_id: int
    rating: int = Field(ge=1, le=5)
    comment: str = Field(min_length=1, max_length=1000)


class RowResponse(BaseModel):
    """The fields of every row."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    created_at: datetime


class UserResponse(RowResponse):
    """An account."""

    name: str
    email: str
    role: str


class ServiceResponse(RowResponse):
    """A service."""

    title: str
    description: str
    price: float
    duration_minutes: int
    is_active: bool


class BookingResponse(RowResponse):
    """A booking."""

    user_id: int
    service_id: int
    start_time: datetime
    end_time: datetime
    status: str


class ReviewResponse(RowResponse):
    """A review."""

    booking_id: int
    rating: int
    comment: str
