"""Studio Linden in Berlin: what it offers, who works there and when, and who comes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Literal
from unicodedata import normalize

Kind = Literal["hair", "body", "class"]
PLAIN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "ł": "l", " ": ".", "’": ""})
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Window:
    """Opening hours on one weekday; of a lesson, those of this lesson alone."""

    weekday: int
    opens: time
    closes: time
    lesson: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody or something that a visit keeps busy."""

    name: str
    hours: tuple[Window, ...]
    capacity: int = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """A service. Times are in minutes, the horizon in days; ``demand`` is its share of all visits."""

    title: str
    kind: Kind
    price: str
    minutes: int
    by: tuple[str, ...]
    demand: int
    description: str
    setup: int = 0
    cleanup: int = 0
    step: int = 15
    notice: int = 120
    horizon: int = 90
    cancel: int = 24 * 60


@dataclass(frozen=True, slots=True)
class Exceptional:
    """Days on which one place, or all, are closed; with hours, on which they open specially."""

    first: date
    reason: str
    place: str = ""
    days: int = 1
    hours: tuple[time, time] | None = None

    def covers(self, place: str, day: date) -> bool:
        """Whether it is about this place on this day."""
        return self.place in {"", place} and self.first <= day < self.first + timedelta(days=self.days)


def week(*lines: str) -> tuple[Window, ...]:
    """Read hours: "Tue Wed 09:00-13:00 14:00-18:30" is two windows on two days."""
    return tuple(window for line in lines for window in windows(line.split()))


def windows(words: list[str]) -> Iterator[Window]:
    for day in (word for word in words if word in WEEKDAYS):
        for opens, _, closes in (word.partition("-") for word in words if "-" in word):
            yield Window(WEEKDAYS.index(day) + 1, time.fromisoformat(opens), time.fromisoformat(closes))


def lessons(title: str, *lines: str) -> tuple[Window, ...]:
    """Read a lesson's hours, which end when the room is tidy again."""
    return tuple(Window(w.weekday, w.opens, w.closes, title) for w in week(*lines))


PLACES = (
    Place("Jonas Weber", week("Tue Wed Thu Fri 09:00-13:00 14:00-18:30", "Sat 09:00-15:00")),
    Place("Aylin Demir", week("Tue Wed Thu Fri 10:00-14:30 15:00-20:00", "Sat 09:00-16:00")),
    Place("Clara Hoffmann", week("Mon Wed Thu Fri 09:00-12:00 13:00-17:30", "Sat 10:00-16:00")),
    Place("Marek Nowak", week("Mon Tue Wed Thu Fri 08:00-12:00 13:00-19:00")),
    Place("Sofia Lindqvist", week("Tue Wed Thu Fri 10:00-14:00 14:30-20:30", "Sat 10:00-17:00")),
    Place("Treatment room", week("Wed Thu Fri 11:00-14:00 15:00-21:00", "Sat 11:00-20:00")),
    Place(
        "Yoga room",
        lessons("Vinyasa Flow", "Mon Wed Fri 18:00-19:15", "Tue Thu 07:30-08:45", "Sat 10:00-11:15")
        + lessons("Yin and Rest", "Tue Thu 19:30-21:00", "Sat 16:00-17:30")
        + lessons("Mat Pilates", "Mon Wed Fri 12:15-13:15"),
        capacity=12,
    ),
    Place(
        "Pilates studio",
        lessons("Reformer Pilates", "Mon Tue Wed Thu 17:30-18:30", "Tue Thu 12:00-13:00", "Sat 11:30-12:30")
        + lessons("Mat Pilates", "Sat 09:30-10:30"),
        capacity=6,
    ),
)

STYLISTS = ("Jonas Weber", "Aylin Demir", "Clara Hoffmann")
THERAPISTS = ("Marek Nowak", "Sofia Lindqvist")
CLASS = {"step": 90, "notice": 30, "horizon": 35, "cancel": 12 * 60}  # One start fits into a lesson's hours.
OFFERS = (
    Offer("Cut and Style", "hair", "58.00", 45, STYLISTS, 17, cleanup=10,
          description="A consultation, wash, cut and blow-dry. Long or very thick hair is welcome at the same price."),
    Offer("Clipper Cut and Beard", "hair", "36.00", 30, STYLISTS[::2], 9, cleanup=5,
          description="Clippers, scissors where they matter, and a beard trim with a hot towel."),
    Offer("Colour Refresh", "hair", "92.00", 90, STYLISTS[1:], 7, cleanup=15, step=30, notice=240,
          description="Roots touched up and lengths glossed without ammonia. First time? Ask for a patch test."),
    Offer("Balayage and Cut", "hair", "185.00", 150, STYLISTS[:2], 4, cleanup=15, step=30, notice=24 * 60,
          description="Freehand lightening, toner, cut and finish. Bring a picture, and two and a half hours."),
    Offer("Classic Massage", "body", "78.00", 60, THERAPISTS, 11, cleanup=15, notice=180, horizon=60,
          description="A full-body massage with warm almond oil, as firm as you like it."),
    Offer("Deep Tissue Massage", "body", "112.00", 90, THERAPISTS, 6, cleanup=15, step=30, notice=180, horizon=60,
          description="Slow, thorough work on neck, shoulders, back and hips. Not for the days before a race."),
    Offer("Lymphatic Drainage", "body", "66.00", 45, THERAPISTS[1:], 4, cleanup=15, notice=180, horizon=60,
          description="Light rhythmic strokes that ease swelling, after travel, sport or an operation."),
    Offer("Herbal Sauna for Two", "body", "49.00", 60, ("Treatment room",), 5, setup=15, cleanup=30, step=30,
          description="The small sauna, all yours: herbal steam, a cold plunge, tea. The price is for the room."),
    Offer("Vinyasa Flow", "class", "18.00", 60, ("Yoga room",), 17, cleanup=15, **CLASS,
          description="A steady flow for people who have met a downward dog before. Mats and blocks are here."),
    Offer("Yin and Rest", "class", "18.00", 75, ("Yoga room",), 9, cleanup=15, **CLASS,
          description="Few poses, held long, with bolsters and blankets. Everybody can come as they are."),
    Offer("Mat Pilates", "class", "17.00", 45, ("Yoga room", "Pilates studio"), 8, cleanup=15, **CLASS,
          description="Forty-five minutes for the middle of the body. The noon class leaves time for lunch."),
    Offer("Reformer Pilates", "class", "29.00", 50, ("Pilates studio",), 10, cleanup=10, **CLASS,
          description="Six reformers, one teacher. Socks with grips please; we sell them at the desk."),
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


def exceptions(today: date) -> tuple[Exceptional, ...]:
    """Give what is different around this day: holidays, somebody ill, somebody on leave, an open Sunday."""
    monday = today - timedelta(days=today.weekday())
    span = [today + timedelta(days=n) for n in range(-56, 183)]  # Some holiday falls into any eight months.
    return (
        *(Exceptional(day, HOLIDAYS[day.month, day.day]) for day in span if (day.month, day.day) in HOLIDAYS),
        Exceptional(monday - timedelta(days=6), "Ill", place="Marek Nowak", days=2),
        Exceptional(monday + timedelta(days=14), "On leave", place="Aylin Demir", days=6),
        Exceptional(monday + timedelta(days=13), "Open Sunday", place="Jonas Weber", hours=(time(11), time(16))),
    )


def address(name: str, number: int | None = None) -> str:
    """Make an e-mail address of a name, with a number where names repeat, at a domain that nobody can own."""
    plain = normalize("NFKD", name.lower().translate(PLAIN)).encode("ascii", "ignore").decode()
    domain = ("com", "org", "net")[(number or len(name)) % 3]
    return f"{plain}@example.{domain}" if number is None else f"{plain}.{number}@example.{domain}"
