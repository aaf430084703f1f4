"""The application: one session and transaction per request, endpoints in the thread pool, rows through the ORM.

The connection pool is as large as the thread pool, so that no thread waits for a connection.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from passlib.context import CryptContext
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session, sessionmaker

from baseline import schemas
from baseline.models import Booking, Review, Service, User

SECRET = os.environ["SECRET_KEY"]
THREADS = 40  # anyio's default
PASSWORDS = CryptContext(schemes=["bcrypt"])
engine = create_engine(os.environ["BASELINE_URL"], pool_size=THREADS, max_overflow=0)
make_session = sessionmaker(engine)
app = FastAPI(title="A typical implementation")


def get_session() -> Iterator[Session]:
    with make_session() as session:
        yield session


Database = Annotated[Session, Depends(get_session)]


def create_access_token(user_id: int) -> str:
    expires = datetime.now(UTC) + timedelta(minutes=30)
    return jwt.encode({"sub": str(user_id), "exp": expires}, SECRET, algorithm="HS256")


def get_current_user(
    database: Database, credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]
) -> User:
    try:
        claims = jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Could not validate credentials") from None
    user = database.get(User, int(claims["sub"]))
    if user is None:
        raise HTTPException(401, "Could not validate credentials")
    return user


CurrentUser = Annotated[User, Depends(get_current_user)]


def require_admin(me: CurrentUser) -> User:
    if me.role != "admin":
        raise HTTPException(403, "Not enough permissions")
    return me


@app.post("/auth/register", status_code=201, response_model=schemas.UserResponse)
def register(body: schemas.NewUser, database: Database) -> User:
    if database.scalar(select(User).where(User.email == body.email)):
        raise HTTPException(409, "Email already registered")
    user = User(name=body.name, email=body.email, password_hash=PASSWORDS.hash(body.password))
    database.add(user)
    database.commit()
    database.refresh(user)
    return user


@app.post("/auth/login", response_model=schemas.Token)
def login(body: schemas.SignIn, database: Database) -> schemas.Token:
    user = database.scalar(select(User).where(User.email == body.email))
    if user is None or not PASSWORDS.verify(body.password, user.password_hash):
        raise HTTPException(401, "Incorrect email or password")
    return schemas.Token(access_token=create_access_token(user.id))


@app.get("/me", response_model=schemas.UserResponse)
def get_me(me: CurrentUser) -> User:
    return me


@app.get("/services", response_model=list[schemas.ServiceResponse])
def list_services(database: Database, q: str | None = None, skip: int = 0, limit: int = 20) -> Sequence[Service]:
    query = select(Service).where(Service.is_active).order_by(Service.id).offset(skip).limit(limit)
    return database.scalars(query.where(Service.title.ilike(f"%{q}%")) if q else query).all()


@app.get("/services/{service_id}", response_model=schemas.ServiceResponse)
def get_service(service_id: int, database: Database) -> Service:
    service = database.get(Service, service_id)
    if service is None:
        raise HTTPException(404, "Service not found")
    return service


@app.post("/services", status_code=201, response_model=schemas.ServiceResponse, dependencies=[Depends(require_admin)])
def create_service(body: schemas.NewService, database: Database) -> Service:
    service = Service(**body.model_dump())
    database.add(service)
    database.commit()
    database.refresh(service)
    return service


@app.post("/bookings", status_code=201, response_model=schemas.BookingResponse)
def create_booking(body: schemas.NewBooking, database: Database, me: CurrentUser) -> Booking:
    service = database.get(Service, body.service_id)
    if service is None or not service.is_active:
        raise HTTPException(404, "Service not found")
    if body.start_time <= datetime.now(UTC):
        raise HTTPException(400, "Start time must be in the future")
    end = body.start_time + timedelta(minutes=service.duration_minutes)
    overlapping = select(Booking).where(
        Booking.service_id == service.id, Booking.status.in_(("pending", "confirmed")),
        Booking.start_time < end, Booking.end_time > body.start_time,
    )  # fmt: skip
    if database.scalars(overlapping.limit(1)).first():
        raise HTTPException(409, "Time slot is not available")
    booking = Booking(user_id=me.id, service_id=service.id, start_time=body.start_time, end_time=end)
    database.add(booking)
    database.commit()
    database.refresh(booking)
    return booking


@app.get("/bookings", response_model=list[schemas.BookingResponse])
def list_bookings(database: Database, me: CurrentUser, skip: int = 0, limit: int = 20) -> Sequence[Booking]:
    query = select(Booking).where(Booking.user_id == me.id).order_by(Booking.start_time).offset(skip).limit(limit)
    return database.scalars(query).all()


def get_own_booking(booking_id: int, database: Database, me: CurrentUser) -> Booking:
    booking = database.get(Booking, booking_id)
    if booking is None:
        raise HTTPException(404, "Booking not found")
    if booking.user_id != me.id and me.role != "admin":
        raise HTTPException(403, "Not your booking")
    return booking


OwnBooking = Annotated[Booking, Depends(get_own_booking)]


@app.get("/bookings/{booking_id}", response_model=schemas.BookingResponse)
def get_booking(booking: OwnBooking) -> Booking:
    return booking


@app.patch("/bookings/{booking_id}", response_model=schemas.BookingResponse)
def change_booking(body: schemas.ChangedBooking, booking: OwnBooking, database: Database) -> Booking:
    booking.status = body.status
    database.commit()
    database.refresh(booking)
    return booking


@app.delete("/bookings/{booking_id}", status_code=204)
def delete_booking(booking: OwnBooking, database: Database) -> None:
    database.delete(booking)
    database.commit()


@app.post("/reviews", status_code=201, response_model=schemas.ReviewResponse)
def create_review(body: schemas.NewReview, database: Database, me: CurrentUser) -> Review:
    booking = get_own_booking(body.booking_id, database, me)
    if booking.status != "completed":
        raise HTTPException(400, "Only a completed booking can be reviewed")
    if database.scalar(select(Review).where(Review.booking_id == booking.id)):
        raise HTTPException(409, "Already reviewed")
    review = Review(**body.model_dump())
    database.add(review)
    database.commit()
    database.refresh(review)
    return review


@app.get("/services/{service_id}/reviews", response_model=list[schemas.ReviewResponse])
def list_reviews(service_id: int, database: Database, skip: int = 0, limit: int = 20) -> Sequence[Review]:
    query = select(Review).join(Review.booking).where(Booking.service_id == service_id).order_by(Review.id)
    return database.scalars(query.offset(skip).limit(limit)).all()
