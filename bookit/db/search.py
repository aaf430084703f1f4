"""Search: the words that people type, and the condition that a row has all of them. Both doors use it."""

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import ColumnElement, and_, func, literal_column
from sqlalchemy.types import String

from bookit.schema.visible_text import normalize_line

INDEXED = {"users", "reviews"}  # tables that may be large; they have an index of trigrams in the key
MAX_WORDS = 10  # of a search; the rest only costs time
Column = sqlalchemy.Column[Any]
LETTER_OR_DIGIT = re.compile(r"[^\W_]")


def split_words(term: str) -> list[str]:
    """Return the words of what was typed, each once. A sign that a database cannot store ends a word."""
    typed = normalize_line(term.replace("\0", " ").encode(errors="replace").decode())
    return list(dict.fromkeys(word for word in typed.split(" ") if word))[:MAX_WORDS]


def search_key(*columns: Column) -> ColumnElement[str]:
    """Return the key by which a row is found, written as the indexes on it are."""
    text: ColumnElement[Any] = columns[0]
    for column in columns[1:]:
        text = text.op("||")(literal_column("' '", String)).op("||")(column)
    return func.search_key(text, type_=String)


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
