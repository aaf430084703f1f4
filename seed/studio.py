"""Studio Linden in Berlin: its services, resources, opening hours, staff and customers."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Any, Literal
from unicodedata import normalize

ServiceKind = Literal["hair", "body", "class", "rental"]
TRANSLITERATION = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "ł": "l", " ": ".", "’": ""})
BUSINESS = {
    "name": "Studio Linden",
    "address": "Lindenstraße 12\n10969 Berlin",
    "phone": "+49 30 23125 012",
    "currency": "EUR",
    "locale": "en_GB",
}
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class OpeningWindow:
    """Opening hours on one weekday. With a class title, only this class takes place in them."""

    weekday: int
    opens: time
    closes: time
    class_title: str = ""


@dataclass(frozen=True, slots=True)
class ResourceSpec:
    """A resource: a person, a room or a thing, with its opening hours."""

    name: str
    hours: tuple[OpeningWindow, ...]
    capacity: int = 1


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service. Times are in minutes, the horizon is in days; ``share`` is its weight among all visits.

    With ``room_names`` each visit takes one of these rooms as well.
    """

    title: str
    kind: ServiceKind
    price: str
    minutes: int
    resource_names: tuple[str, ...]
    share: int
    description: str
    setup: int = 0
    cleanup: int = 0
    step: int = 15
    notice: int = 120
    horizon: int = 90
    cancel: int = 24 * 60
    room_names: tuple[str, ...] = ()
    max_party: int = 1


@dataclass(frozen=True, slots=True)
class ExceptionSpec:
    """Days on which one resource, or all, are closed; with hours, a day on which they are open in addition."""

    first_day: date
    reason: str
    resource_name: str = ""
    days: int = 1
    hours: tuple[time, time] | None = None

    def covers(self, resource_name: str, day: date) -> bool:
        """Whether this applies to the resource on this day."""
        return self.resource_name in {"", resource_name} and self.first_day <= day < self.first_day + timedelta(
            days=self.days
        )


def parse_weekly_hours(*lines: str) -> tuple[OpeningWindow, ...]:
    """Parse opening hours: "Tue Wed 09:00-13:00 14:00-18:30" is two windows on each of two days."""
    return tuple(window for line in lines for window in parse_windows(line.split()))


def parse_windows(tokens: list[str]) -> Iterator[OpeningWindow]:
    for day in (word for word in tokens if word in WEEKDAYS):
        for opens, _, closes in (word.partition("-") for word in tokens if "-" in word):
            yield OpeningWindow(WEEKDAYS.index(day) + 1, time.fromisoformat(opens), time.fromisoformat(closes))


def parse_class_hours(title: str, *lines: str) -> tuple[OpeningWindow, ...]:
    """Parse the hours of a class. They include the cleanup of the room."""
    return tuple(OpeningWindow(w.weekday, w.opens, w.closes, title) for w in parse_weekly_hours(*lines))


BIKES = ("Cargo bike 1", "Cargo bike 2")
RESOURCES = (
    ResourceSpec("Jonas Weber", parse_weekly_hours("Tue Wed Thu Fri 09:00-13:00 14:00-18:30", "Sat 09:00-15:00")),
    ResourceSpec("Aylin Demir", parse_weekly_hours("Tue Wed Thu Fri 10:00-14:30 15:00-20:00", "Sat 09:00-16:00")),
    ResourceSpec("Clara Hoffmann", parse_weekly_hours("Mon Wed Thu Fri 09:00-12:00 13:00-17:30", "Sat 10:00-16:00")),
    ResourceSpec("Marek Nowak", parse_weekly_hours("Mon Tue Wed Thu Fri 08:00-12:00 13:00-19:00")),
    ResourceSpec("Sofia Lindqvist", parse_weekly_hours("Tue Wed Thu Fri 10:00-14:00 14:30-20:30", "Sat 10:00-17:00")),
    ResourceSpec("Massage room 1", parse_weekly_hours("Mon Tue Wed Thu Fri Sat 08:00-21:00")),
    ResourceSpec("Massage room 2", parse_weekly_hours("Mon Tue Wed Thu Fri Sat 08:00-21:00")),
    ResourceSpec("Treatment room", parse_weekly_hours("Wed Thu Fri 11:00-14:00 15:00-21:00", "Sat 11:00-20:00")),
    ResourceSpec(
        "Yoga room",
        parse_class_hours("Vinyasa Flow", "Mon Wed Fri 18:00-19:15", "Tue Thu 07:30-08:45", "Sat 10:00-11:15")
        + parse_class_hours("Yin and Rest", "Tue Thu 19:30-21:00", "Sat 16:00-17:30")
        + parse_class_hours("Mat Pilates", "Mon Wed Fri 12:15-13:15"),
        capacity=12,
    ),
    ResourceSpec(
        "Pilates studio",
        parse_class_hours("Reformer Pilates", "Mon Tue Wed Thu 17:30-18:30", "Tue Thu 12:00-13:00", "Sat 11:30-12:30")
        + parse_class_hours("Mat Pilates", "Sat 09:30-10:30"),
        capacity=6,
    ),
    *(ResourceSpec(name, parse_weekly_hours("Mon Tue Wed Thu Fri 09:00-18:00", "Sat 09:00-15:00")) for name in BIKES),
)

STYLISTS = ("Jonas Weber", "Aylin Demir", "Clara Hoffmann")
THERAPISTS = ("Marek Nowak", "Sofia Lindqvist")
ROOMS = ("Massage room 1", "Massage room 2")
# One start fits into the hours of a class.
CLASS_RULES: dict[str, Any] = {"step": 90, "notice": 30, "horizon": 35, "cancel": 12 * 60}
SERVICES = (
    ServiceSpec("Cut and Style", "hair", "58.00", 45, STYLISTS, 17, cleanup=10,
          description="A consultation, wash, cut and blow-dry. Long or very thick hair is welcome at the same price."),
    ServiceSpec("Clipper Cut and Beard", "hair", "36.00", 30, STYLISTS[::2], 9, cleanup=5,
          description="Clippers, scissors where they matter, and a beard trim with a hot towel."),
    ServiceSpec("Colour Refresh", "hair", "92.00", 90, STYLISTS[1:], 7, cleanup=15, step=30, notice=240,
          description="Roots touched up and lengths glossed without ammonia. First time? Ask for a patch test."),
    ServiceSpec("Balayage and Cut", "hair", "185.00", 150, STYLISTS[:2], 4, cleanup=15, step=30, notice=24 * 60,
          description="Freehand lightening, toner, cut and finish. Bring a picture, and two and a half hours."),
    ServiceSpec("Classic Massage", "body", "78.00", 60, THERAPISTS, 11, cleanup=15, notice=180, horizon=60,
          room_names=ROOMS,
          description="A full-body massage with warm almond oil, as firm as you like it."),
    ServiceSpec("Deep Tissue Massage", "body", "112.00", 90, THERAPISTS, 6, cleanup=15, step=30, notice=180, horizon=60,
          room_names=ROOMS,
          description="Slow, thorough work on neck, shoulders, back and hips. Not for the days before a race."),
    ServiceSpec("Lymphatic Drainage", "body", "66.00", 45, THERAPISTS[1:], 4, cleanup=15, notice=180, horizon=60,
          room_names=ROOMS,
          description="Light rhythmic strokes that ease swelling, after travel, sport or an operation."),
    ServiceSpec("Herbal Sauna for Two", "body", "49.00", 60, ("Treatment room",), 5, setup=15, cleanup=30, step=30,
          description="The small sauna, all yours: herbal steam, a cold plunge, tea. The price is for the room."),
    ServiceSpec("Vinyasa Flow", "class", "18.00", 60, ("Yoga room",), 17, cleanup=15, max_party=4,
          **CLASS_RULES,
          description="A steady flow for people who have met a downward dog before. Mats and blocks are here."),
    ServiceSpec("Yin and Rest", "class", "18.00", 75, ("Yoga room",), 9, cleanup=15, max_party=4,
          **CLASS_RULES,
          description="Few poses, held long, with bolsters and blankets. Everybody can come as they are."),
    ServiceSpec("Mat Pilates", "class", "17.00", 45, ("Yoga room", "Pilates studio"), 8, cleanup=15, **CLASS_RULES,
          description="Forty-five minutes for the middle of the body. The noon class leaves time for lunch."),
    ServiceSpec("Reformer Pilates", "class", "29.00", 50, ("Pilates studio",), 10, cleanup=10, **CLASS_RULES,
          description="Six reformers, one teacher. Socks with grips please; we sell them at the desk."),
    ServiceSpec("Cargo Bike for Three Days", "rental", "54.00", 3 * 24 * 60, BIKES, 3, step=60, notice=240, horizon=60,
          description="An electric bike with a box for two children or a crate of mats. Collect it at the desk, and"
          " bring it back at the same hour three days later."),
)  # fmt: skip

HOLIDAYS = {
    (1, 1): "New Year’s Day",
    (3, 8): "International Women’s Day",
    (5, 1): "Labour Day",
    (10, 3): "Day of German Unity",
    (12, 25): "Christmas Day",
    (12, 26): "Second Day of Christmas",
}

OWNER_NAME = "Katrin Linden"
DESK_NAMES = ("Deniz Arslan", "Paul Richter")
MANAGER_NAME = "Helena Busse"
STYLIST_NAME = "Clara Hoffmann"  # who is a resource, too
CUSTOMERS = (
    "Lena Brandt", "Jürgen Köhler", "Fatma Güneş", "Tobias Krüger", "Anna Kowalska", "Minh Nguyen",
    "Charlotte Fischer", "Omar Haddad", "Svenja Petersen", "Luca Moretti", "Ingrid Schäfer", "Emre Kaya",
    "Hannah Vogel", "Piotr Zieliński", "Marie Dubois", "Felix Neumann", "Zeynep Aksoy", "Greta Lorenz",
    "Samuel Okafor", "Katharina Busch", "Niklas Franke", "Elif Şahin", "Julia Albrecht", "Ravi Sharma",
    "Theresa Winkler", "Moritz Haas", "Ewa Wójcik", "Jonathan Price", "Leonie Schuster", "Mehmet Çelik",
    "Paula Engel", "Stefan Jansen", "Amira Saleh", "Vincent Roth", "Nora Lindholm", "Björn Ostermann", "Carolin Beck",
    "Diego Fernández", "Mia Seidel", "Georg Ziegler", "Thi Lan Pham", "Robert Stein", "Isabel Santos",
    "Kilian Arnold", "Olga Petrova", "Simon Brückner", "Yasmin Rahimi", "Frank Dietrich", "Emily Carter",
    "Matthias Pohl", "Lea Sommer", "Nikola Jovanović", "Sabine Kraus", "Adam Novák", "Ronja Thiel", "Hakan Öztürk",
    "Birgit Menzel", "Oliver Grant", "Johanna Ritter", "Chiara Ricci", "Jan Ullrich Behrens", "Melike Polat",
    "Henrik Sørensen", "Antonia Wolff", "Kwame Mensah", "Ulrike Sauer", "Daniel Lehmann", "Agnieszka Mazur",
    "Till Reuter", "Noemi Keller", "Arthur Vogt", "Selin Korkmaz", "Gabriele Hahn", "Patrick O’Brien",
    "Frieda Baumann", "Yuki Tanaka", "Sebastian Horn", "Clémence Laurent", "Rosa Hartwig", "Bastian Kuhn",
)  # fmt: skip

# About the customers with these numbers. Every third one is pinned.
CUSTOMER_NOTES = (
    (4, "Allergic to almond oil. Use jojoba."), (4, "Colour 7/1 with 20 vol, 35 minutes."), (4, "Likes the window."),
    (1, "Prefers to be called rather than written to."), (2, "Brings her daughter."), (6, "Takes no fringe."),
    (9, "Sensitive neck: low basin only."), (12, "Pays by transfer at the end of the month."),
)  # fmt: skip
BOOKING_NOTES = (
    "Bring colour 7/1.",
    "Comes five minutes late.",
    "First visit: show her around.",
    "Wants photos after.",
)


def build_exceptions(today: date) -> tuple[ExceptionSpec, ...]:
    """Return the exceptions around this day: holidays, an illness, a leave, an open Sunday."""
    monday = today - timedelta(days=today.weekday())
    span = [today + timedelta(days=n) for n in range(-56, 183)]  # any eight months have a holiday
    return (
        *(ExceptionSpec(day, HOLIDAYS[day.month, day.day]) for day in span if (day.month, day.day) in HOLIDAYS),
        ExceptionSpec(monday - timedelta(days=6), "Ill", resource_name="Marek Nowak", days=2),
        ExceptionSpec(monday + timedelta(days=14), "On leave", resource_name="Aylin Demir", days=6),
        ExceptionSpec(
            monday + timedelta(days=13), "Open Sunday", resource_name="Jonas Weber", hours=(time(11), time(16))
        ),
    )


def make_phone(number: int) -> str:
    """Return a phone number for the customer with this number: one of the thousand that Ofcom keeps for fiction."""
    return f"+447700900{number * 37 % 1000:03d}"


def make_email(name: str, number: int | None = None) -> str:
    """Return an e-mail address for a name, at a reserved domain. The number tells equal names apart."""
    plain = normalize("NFKD", name.lower().translate(TRANSLITERATION)).encode("ascii", "ignore").decode()
    domain = ("com", "org", "net")[(number or len(name)) % 3]
    return f"{plain}@example.{domain}" if number is None else f"{plain}.{number}@example.{domain}"
