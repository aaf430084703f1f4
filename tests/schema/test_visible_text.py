"""A text is something that people can see: at the doors, at a console, and after an upgrade."""

import unicodedata
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookit.schema import revisions
from bookit.schema.visible_text import VisibleText
from tests.support.databases import create_database, drop_database

LINE, PARAGRAPHS = VisibleText(), VisibleText(has_paragraphs=True)
EMPTY, ACCENTS, LETTERS = "Enter some text", "Use at most 4 accents on one letter", "Use at least one letter or digit"
HIDDEN = "Type this again without the hidden sign U+"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
REFUSED = {
    "\u200b": EMPTY,
    "\u3164": EMPTY,
    " \u2800\u00a0\t\n": EMPTY,
    "\ufeff\u2060\u200d\u200e": EMPTY,
    "\u0301": LETTERS,
    "...": LETTERS,
    "\U0001f600": LETTERS,
    FAMILY: LETTERS,
    "\u202eannA": f"{HIDDEN}202E",
    "Anna \u2067Meier": f"{HIDDEN}2067",
    "An\x1bna": f"{HIDDEN}001B",
    "An\x7fna": f"{HIDDEN}007F",
    "Anna\ue000": f"{HIDDEN}E000",
    "Anna\U000f0000": f"{HIDDEN}F0000",
    "Anna\uffff": f"{HIDDEN}FFFF",
    "Anna\U000e0041": f"{HIDDEN}E0041",
    "Z\u0336\u0334\u0335\u0337\u0338": ACCENTS,
    "\u0e01\u0e31\u0e31\u0e31\u0e31\u0e31": ACCENTS,
}
UNASSIGNED = "Anna\u0378"
STORED = {
    "Müller": "Müller",
    "Mu\u0308ller": "Müller",
    "  Anna \u00a0\u3000 Meier ": "Anna Meier",
    "Anna\r\nBcc:\teve": "Anna Bcc: eve",
    "Anna\u2028Meier": "Anna Meier",
    "An\u200bna\ufeff \u00adMei\u200eer": "Anna Meier",
    "An\u200dna": "Anna",
    "a \u200d b": "a b",
    "O'Brien <b>": "O'Brien <b>",
    "3": "3",
    "\u0110\u1eb7ng Th\u1ecb L\u1ec7": "\u0110\u1eb7ng Th\u1ecb L\u1ec7",  # Vietnamese
    "\u0e19\u0e49\u0e33\u0e1c\u0e36\u0e49\u0e07": "\u0e19\u0e49\u0e33\u0e1c\u0e36\u0e49\u0e07",  # Thai
    "\u0915\u094d\u200d\u0937 \u0939\u093f\u0928\u094d\u0926\u0940": (
        "\u0915\u094d\u200d\u0937 \u0939\u093f\u0928\u094d\u0926\u0940"
    ),  # Hindi, with a joiner
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
    "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd": "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",  # Hebrew, with points
    "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f": "\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f",  # Arabic
    "\u01c3X\u00f3\u00f5 \u01c0Kx\u02bcau": "\u01c3X\u00f3\u00f5 \u01c0Kx\u02bcau",  # clicks
    "\u1019\u103c\u103d\u103e\u1031\u1038": "\u1019\u103c\u103d\u103e\u1031\u1038",  # Burmese
    "\u674e \u5c0f\u9f99": "\u674e \u5c0f\u9f99",
    f"{FAMILY} Meier": f"{FAMILY} Meier",
    f"Kim {ENGLAND}": f"Kim {ENGLAND}",
}
STORED_PARAGRAPHS = {
    " Good.  \r\n\r\n\r\n\u2028Very\tgood. \n": "Good.\n\nVery good.",
    ":)": ":)",
    "\U0001f44d\U0001f3fd": "\U0001f44d\U0001f3fd",
    "\u2764\ufe0f": "\u2764\ufe0f",
}


def parse(shape: VisibleText, text: str) -> str:
    """Return the stored text, or the message of the refusal."""
    try:
        return str(shape.parse(text))
    except ValueError as refused:
        return str(refused)


@pytest.fixture(scope="module")
def console(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def accepted(console: psycopg.Connection, rule: str, texts: list[str]) -> list[str]:
    """Return those of the texts that a constraint lets a console write."""
    query = f"SELECT text FROM unnest(%s::text[]) WITH ORDINALITY AS t (text, n) WHERE {rule}(text) ORDER BY n"
    return [text for (text,) in console.execute(query.encode(), (texts,))]


def test_a_line_is_stored_as_people_see_it(console: psycopg.Connection) -> None:
    assert {text: parse(LINE, text) for text in STORED} == STORED
    assert accepted(console, "is_line", [*STORED.values()]) == [*STORED.values()]
    raw = [text for text, stored in STORED.items() if text != stored]
    assert accepted(console, "is_line", raw) == []


def test_a_line_that_nobody_can_see_is_refused(console: psycopg.Connection) -> None:
    assert {text: parse(LINE, text) for text in REFUSED} == REFUSED
    assert accepted(console, "is_line", [text for text in REFUSED if text != "\u0e01\u0e31"]) == []
    assert parse(LINE, UNASSIGNED) == f"{HIDDEN}0378"


def test_paragraphs_keep_their_line_breaks(console: psycopg.Connection) -> None:
    assert {text: parse(PARAGRAPHS, text) for text in STORED_PARAGRAPHS} == STORED_PARAGRAPHS
    assert accepted(console, "is_paragraphs", [*STORED_PARAGRAPHS.values()]) == [*STORED_PARAGRAPHS.values()]
    assert accepted(console, "is_paragraphs", [next(iter(STORED_PARAGRAPHS)), "a\n\n\nb", "a \nb", "\u0301"]) == []
    hidden = [text for text, message in REFUSED.items() if message.startswith(HIDDEN) or message in {ACCENTS, EMPTY}]
    assert [text for text in hidden if parse(PARAGRAPHS, text) != REFUSED[text]] == []
    assert accepted(console, "is_paragraphs", hidden) == []


def test_an_optional_text_may_be_empty() -> None:
    assert parse(VisibleText(is_required=False), " \u200b ") == ""


@pytest.mark.parametrize(("rule", "shape"), [("is_line", LINE), ("is_paragraphs", PARAGRAPHS)])
def test_a_constraint_refuses_no_sign_that_a_door_stores(
    console: psycopg.Connection, rule: str, shape: VisibleText
) -> None:
    signs = [chr(point) for point in range(1, 0x110000) if not 0xD800 <= point < 0xE000]
    at_doors = {sign for sign in signs if parse(shape, sign) == sign}
    at_consoles = {*accepted(console, rule, signs)}

    assert at_doors - at_consoles == set()
    # What a console may write and a door may not: a rare accent or sign alone. Nothing that hides or breaks lines.
    kinds = {unicodedata.category(sign) for sign in at_consoles - at_doors}
    assert kinds & {"Cc", "Co", "Cs", "Zs", "Zl", "Zp"} == set()


SIGNS = st.sampled_from(
    "aÄ \t\n\r\u00a0\u0301\u0308\u0336\u0591\u0e31\u200b\u200c\u200d\u202e\u2028\u3164\u0915\u094d\U0001f468"
)


TEXTS = st.text(st.one_of(SIGNS, st.characters(exclude_categories=["Cs"])), max_size=12)


@given(st.lists(TEXTS, min_size=20, max_size=20))
@settings(max_examples=30, deadline=None)
def test_what_a_door_stores_is_stored_as_it_is(console: psycopg.Connection, texts: list[str]) -> None:
    for rule, shape in (("is_line", LINE), ("is_paragraphs", PARAGRAPHS)):
        stored = [stored for text in texts if (stored := parse_or_none(shape, text)) is not None]

        assert [parse(shape, text) for text in stored] == stored
        assert accepted(console, rule, stored) == stored


def parse_or_none(shape: VisibleText, text: str) -> str | None:
    try:
        return str(shape.parse(text))
    except ValueError:
        return None


DIRTY_NAMES = [*STORED, *REFUSED]


def test_an_upgrade_cleans_the_texts_that_are_there(server: str, worker_id: str) -> None:
    url = create_database(server, f"dirty_{worker_id}", "template0")
    revisions.migrate(url, "0004")
    with psycopg.connect(url, autocommit=True) as console:
        names = [name.replace("\x00", "") for name in DIRTY_NAMES]
        console.execute(
            "INSERT INTO users (name, email, password_hash)"
            " SELECT name, n || '@example.com', '-' FROM unnest(%s::text[]) WITH ORDINALITY AS t (name, n) ORDER BY n",
            (names,),
        )
        console.execute(
            "INSERT INTO services (title, description, price, duration_minutes)"
            " VALUES (E'\\u200b', E' a\\t\\n\\n\\n\\nb', 1, 1)"
        )
        console.execute(
            "INSERT INTO calendar_exceptions (start_time, end_time, reason)"
            " VALUES ('2030-01-01Z', '2030-01-02Z', '...')"
        )
        revisions.migrate(url)

        cleaned = [name for (name,) in console.execute("SELECT name FROM users ORDER BY id")]
        service = console.execute("SELECT title, description, version FROM services").fetchone()
        reasons = console.execute("SELECT reason FROM calendar_exceptions").fetchall()
        event = console.execute(
            "SELECT actor, old ->> 'name', new ->> 'name', reason FROM events WHERE action = 'changed' AND row_id = 2"
        ).fetchone()
    drop_database(server, f"dirty_{worker_id}")

    assert cleaned[: len(STORED)] == [*STORED.values()]
    assert cleaned[len(STORED) :] == [
        f"Unnamed {number}" if message in {EMPTY, LETTERS} else cleaned[number - 1]
        for number, message in enumerate(REFUSED.values(), start=len(STORED) + 1)
    ]
    assert cleaned[len(STORED) + 8 :][:4] == ["annA", "Anna Meier", "Anna", "Anna"]
    assert (service, reasons) == (("Unnamed 1", "a\n\nb", 3), [("",)])
    assert event == ("nobody", "Mu\u0308ller", "Müller", "The upgrade removed signs that cannot be seen.")
