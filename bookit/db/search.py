"""Search: the words that people type, and the condition that a row has all of them. Both doors use it."""

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import ColumnElement, and_, func, literal, literal_column, or_
from sqlalchemy.types import String

from bookit.schema.visible_text import normalize_line

INDEXED = {"users", "reviews"}  # tables that may be large; they have an index of trigrams in the key
MAX_WORDS = 10  # of a search; the rest only costs time
Column = sqlalchemy.Column[Any]
LETTER_OR_DIGIT = re.compile(r"[^\W_]")
MIN_PHONE_DIGITS = 3
MIN_LONE_PHONE_DIGITS = 6  # of a phone number without a sign of one, where numbers of rows are looked for too
PHONE = re.compile(r"(?<!\S)\+?\(?[0-9][0-9 ()/.-]*(?!\S)")  # what may be a phone number, or a part of one


def split_words(term: str) -> list[str]:
    """Return the words of what was typed, each once. A sign that a database cannot store ends a word."""
    typed = normalize_line(term.replace("\0", " ").encode(errors="replace").decode())
    return list(dict.fromkeys(word for word in typed.split(" ") if word))[:MAX_WORDS]


def phone_digits(typed: str) -> str:
    """Return the digits by which a phone number is found, however its beginning is typed.

    0171 2345, 0049 171 2345 and +49 (0)171 2345 are all found in +491712345: a part of the digits is enough, so zeros
    at the beginning are left out, as long as enough is left.
    """
    digits = re.sub(r"[^0-9]", "", typed.replace("(0)", ""))
    without_zeros = digits.lstrip("0")
    return without_zeros if len(without_zeros) >= MIN_PHONE_DIGITS else digits


def join_phones(term: str) -> str:
    """Return a term in which what may be a phone number is one word, with the digits by which it is found."""

    def join(match: re.Match[str]) -> str:
        digits = phone_digits(match[0])
        return f"{digits} " if len(digits) >= MIN_PHONE_DIGITS else match[0]

    return PHONE.sub(join, normalize_line(term.replace("\0", " ").encode(errors="replace").decode()))


def is_phone(term: str) -> bool:
    """Return whether a term is a phone number or a part of one, rather than the number of a row."""
    typed = normalize_line(term.replace("\0", " ").encode(errors="replace").decode())
    if not PHONE.fullmatch(typed) or len(phone_digits(typed)) < MIN_PHONE_DIGITS:
        return False
    return len(typed) >= MIN_LONE_PHONE_DIGITS or typed.startswith("0") or not typed.isdigit()


def search_key(*columns: Column) -> ColumnElement[str]:
    """Return the key by which a row is found, written as the indexes on it are."""
    first, *others = (
        func.coalesce(column, literal_column("''", String)) if column.nullable else column for column in columns
    )
    text: ColumnElement[Any] = first
    for column in others:
        text = text.op("||")(literal_column("' '", String)).op("||")(column)
    return func.search_key(text, type_=String)


def matches(term: str, *columns: Column) -> ColumnElement[bool]:
    """Return the condition that these columns of a table have all words of a term, or its phone numbers."""
    readings = [term, join_phones(term)] if any(column.key == "phone" for column in columns) else [term]
    conditions = [
        has_words(words, *columns) for words in dict.fromkeys(map(tuple, map(split_words, readings))) if words
    ]
    return or_(*conditions) if conditions else literal(value=False)


def has_words(words: Sequence[str], *columns: Column) -> ColumnElement[bool]:
    """Return the condition that these columns of a table have all the words, in any order."""
    pattern = func.indexed_search_pattern if columns[0].table.name in INDEXED else func.search_pattern
    return and_(*(search_key(*columns).like(pattern(word)) for word in words))


def has_all_words(words: ColumnElement[Any], *columns: Column) -> ColumnElement[bool]:
    """Return the same condition for a parameter that is an array of words. No index serves it."""
    return search_key(*columns).like(func.all(func.search_patterns(words)))


def sort_key(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return what names are sorted by: anna, Änne, Zoe, and Room 2 before Room 10."""
    return func.sort_key(column, type_=String)
