"""What is sent and answered."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["pending", "confirmed", "cancelled", "completed"]


class NewUser(BaseModel):
    """Somebody who joins."""

    name: str = Field(min_length=1, max_length=100)
    email: str = Field(max_length=255, pattern="@")
    password: str = Field(min_length=8, max_length=72)


class SignIn(BaseModel):
    """Who somebody says they are."""

    email: str
    password: str


class Token(BaseModel):
    """A sign-in."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 -- a kind of token


class NewService(BaseModel):
    """Something to offer."""

    title: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=1000)
    price: Decimal = Field(ge=0)
    duration_minutes: int = Field(gt=0)
    is_active: bool = True


class NewBooking(BaseModel):
    """A visit somebody wants."""

    service_id: int
    start_time: datetime


class ChangedBooking(BaseModel):
    """Another status."""

    status: Status


class NewReview(BaseModel):
    """What somebody says of a visit."""

    booking_id: int
    rating: int = Field(ge=1, le=5)
    comment: str = Field(min_length=1, max_length=1000)


class RowResponse(BaseModel):
    """What is read from a row."""

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
