"""The pages of the staff panel that ``admin_pages.py`` measures."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

from fill_database import fetch_value
from psycopg import sql
from running_app import PageTiming

LIST_VIEWS = ("booking", "review", "service", "resource", "opening-hours", "calendar-exception", "user", "event")
SORTS = {
    "booking": ("start_time",),
    "review": ("id",),
    "service": ("id", "title", "price", "duration_minutes"),
    "resource": ("id", "name", "capacity"),
    "opening-hours": ("id", "weekday"),
    "calendar-exception": ("id", "start_time"),
    "user": ("id",),
    "event": ("id",),
}
STATUSES = ("pending", "confirmed", "completed", "cancelled", "no_show")
SEARCH_TERMS = {
    "number": "777",
    "common name": "Anna",
    "full name": "Anna Weber",
    "rare name": "",  # read from the database
    "part of an e-mail": "",  # as above
    "domain all have": "@example",
    "nonsense": "zqxjk",
    "1 letter": "a",
    "1 rare letter": "q",
    "2 letters": "an",
    "2 rare letters": "qz",
    "%": "%",
    "_": "_",
}


def list_pages(url: str) -> list[PageTiming]:
    """Return a page of every kind."""
    return [
        *list_plain_lists(),
        *list_booking_lists(url),
        *list_other_lists(url),
        *list_row_pages(url),
        *list_lookups(url),
    ]


def list_plain_lists() -> Iterator[PageTiming]:
    for name in LIST_VIEWS:
        path = f"/admin/{name}/list"
        yield PageTiming(f"{name}: list", path, "admin")
        yield PageTiming(f"{name}: list, 100 a page", f"{path}?pageSize=100", "admin")
        yield PageTiming(f"{name}: list, page 200", f"{path}?page=200", "admin")
        yield PageTiming(f"{name}: list, last page", f"{path}?page=400", "admin")
        for column in SORTS[name]:
            for order in ("asc", "desc"):
                yield PageTiming(f"{name}: by {column} {order}", f"{path}?sortBy={column}&sort={order}", "admin")
        yield PageTiming(f"{name}: ascending, last page", f"{path}?sortBy={SORTS[name][0]}&sort=asc&page=400", "admin")


def list_date_ranges(url: str) -> dict[str, str]:
    """Return date ranges by name: a day, a week, the last month, the last and the first year, and open ends."""
    today = datetime.now(UTC).date()
    oldest: date = fetch_value(url, "SELECT min(start_time)::date FROM bookings")
    week, month, year = (timedelta(days=n) for n in (7, 30, 365))
    return {
        "today": f"{today}",
        "a week": f"{today}..{today + week}",
        "from today": f"{today}..",
        "last month": f"{today - month}..{today}",
        "last year": f"{today - year}..{today}",
        "first year": f"{oldest}..{oldest + year}",
        "until today": f"..{today}",
    }


def list_booking_lists(url: str) -> Iterator[PageTiming]:
    ranges = list_date_ranges(url)
    queries = {f"status {status}": f"status={status}" for status in STATUSES}
    queries |= {f"days {name}": f"start_time={days}" for name, days in ranges.items()}
    queries |= {
        f"{status}, {name}": f"status={status}&start_time={ranges[name]}"
        for status in ("pending", "completed", "cancelled")
        for name in ("today", "from today", "last month", "first year")
    }
    for title, query in queries.items():
        yield PageTiming(f"booking: {title}", f"/admin/booking/list?{query}")
        for column in SORTS["booking"]:
            for order in ("asc", "desc"):
                path = f"/admin/booking/list?{query}&sortBy={column}&sort={order}"
                yield PageTiming(f"booking: {title}, by {column} {order}", path)
        yield PageTiming(f"booking: {title}, last page", f"/admin/booking/list?{query}&page=400")
    for title, term in list_search_terms(url).items():
        search = f"/admin/booking/list?search={quote(term)}"
        yield PageTiming(f"booking: search {title}", search)
        yield PageTiming(f"booking: search {title}, by start asc", f"{search}&sortBy=start_time&sort=asc")
        yield PageTiming(f"booking: search {title}, last page", f"{search}&page=400")
        yield PageTiming(f"booking: search {title}, pending", f"{search}&status=pending")
        yield PageTiming(f"booking: search {title}, from today", f"{search}&start_time={ranges['from today']}")


def list_search_terms(url: str) -> dict[str, str]:
    """Return search terms by name: some match many rows, some few, some none."""
    rare = fetch_value(url, "SELECT name FROM users GROUP BY name ORDER BY count(*), name LIMIT 1")
    part = fetch_value(url, "SELECT substr(email, 3, 9) FROM users ORDER BY id DESC LIMIT 1")
    return {**SEARCH_TERMS, "rare name": rare, "part of an e-mail": part}


def list_other_lists(url: str) -> Iterator[PageTiming]:
    users = "/admin/user/list"
    for title, term in list_search_terms(url).items():
        yield PageTiming(f"user: search {title}", f"{users}?search={quote(term)}")
        yield PageTiming(f"user: search {title}, last page", f"{users}?search={quote(term)}&page=400")
    for title, query in {
        "role user": "role=user", "role staff": "role=staff", "inactive": "is_active=no", "active": "is_active=yes",
        "staff and inactive": "role=staff&is_active=no", "search and role": "search=Anna&role=user",
        "search and inactive": "search=Anna&is_active=no",
    }.items():  # fmt: skip
        yield PageTiming(f"user: {title}", f"{users}?{query}")
        yield PageTiming(f"user: {title}, by id asc", f"{users}?{query}&sortBy=id&sort=asc")
    for name, terms in {
        "review": ("great", "zqxjk", "a", "q"), "service": ("cut", "zqxjk"), "resource": ("Chair", "zqxjk"),
        "calendar-exception": ("Holiday", "zqxjk"),
    }.items():  # fmt: skip
        for term in terms:
            yield PageTiming(f"{name}: search {term}", f"/admin/{name}/list?search={term}")


def list_row_pages(url: str) -> Iterator[PageTiming]:
    """Yield the pages of single rows: the first, the last, and one with much history."""
    for name, table in {"booking": "bookings", "review": "reviews", "service": "services", "resource": "resources",
                        "opening-hours": "opening_hours", "calendar-exception": "calendar_exceptions",
                        "user": "users", "event": "events"}.items():  # fmt: skip
        for title, function in {"first": "min", "last": "max"}.items():
            query = sql.SQL("SELECT {}(id) FROM {}").format(sql.SQL(function), sql.Identifier(table))
            row_id = fetch_value(url, query)
            yield PageTiming(f"{name}: details, {title}", f"/admin/{name}/details/{row_id}", "admin")
            if name not in {"review", "event"}:
                yield PageTiming(f"{name}: edit, {title}", f"/admin/{name}/edit/{row_id}", "admin")
    changed = (
        fetch_value(url, "SELECT row_id FROM events WHERE table_name = 'bookings' AND action = 'changed' LIMIT 1") or 1
    )
    yield PageTiming("booking: details, with history", f"/admin/booking/details/{changed}")
    for name in ("booking", "service", "resource", "opening-hours", "calendar-exception", "user"):
        yield PageTiming(f"{name}: create", f"/admin/{name}/create", "admin")


def list_lookups(url: str) -> Iterator[PageTiming]:
    for title, term in list_search_terms(url).items():
        yield PageTiming(f"lookup: user, {title}", f"/admin/booking/ajax/lookup?name=user&term={quote(term)}")
    for term in ("c", "cu", "cut", "zqx"):
        yield PageTiming(f"lookup: service, {term}", f"/admin/booking/ajax/lookup?name=service&term={term}")
        yield PageTiming(f"lookup: resource, {term}", f"/admin/booking/ajax/lookup?name=resource&term={term}")
