"""What a door answers when it refuses: which refusal that is, and where it stands."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser

import httpx2
from sqlmodel import SQLModel

from api.problems import every_refusal, status_of
from bookit import refusals as no


@dataclass(frozen=True)
class Refused:
    """A refusal, and the field it stands on: its own, unless another is named.

    Shapes are told by each door in its own words, so that each of them is ``Misshapen`` of its field here.
    """

    why: type[no.Refusal]
    on: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", self.on or self.why.field)
        if issubclass(self.why, no.Misshapen):
            object.__setattr__(self, "why", no.Misshapen)


class Told(HTMLParser):
    """What a page says: what was wrong, above its form and on its fields, and what was done."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.alerts: list[str] = []
        self.done: list[str] = []
        self.on_fields: dict[str, str] = {}
        self._tag = self._field = self._role = ""
        self._said: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where a sentence begins, and on which field."""
        given = dict(attrs)
        name = given.get("id") or ""
        is_of_field = name.endswith("-wrong")
        role = given.get("role") or ""
        if is_of_field or role in {"alert", "status"}:
            self._tag, self._field, self._said = tag, name.removesuffix("-wrong") if is_of_field else "", []
            self._role = role

    def handle_data(self, data: str) -> None:
        """Note a part of a sentence."""
        self._said.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Note a sentence."""
        sentence = " ".join("".join(self._said).split())
        if tag != self._tag or not sentence:
            return
        if self._field:
            self.on_fields[self._field] = sentence
        else:
            (self.done if self._role == "status" else self.alerts).append(sentence)
        self._tag = ""


def turned_away(answer: httpx2.Response) -> Refused:
    """Read a page that is not there for this person, or for anybody: it has a status, and no sentence of a rule."""
    kinds: dict[int, type[no.Refusal]] = {403: no.Forbidden, 404: no.Missing}
    return Refused(kinds[answer.status_code])


def came_back(answer: httpx2.Response, table: type[SQLModel]) -> Refused:
    """Read a form that came back: a refusal has its status, and stands above the form and on its field."""
    told = Told(answer.text)
    wrong = {
        f"{name}_id" if f"{name}_id" in table.model_fields else name: said.partition(" Free next: ")[0]
        for name, said in told.on_fields.items()
    }  # What is free instead stands behind the refusal, and is asked for in tests of its own.
    if not told.alerts:  # Fields that could not be read: no rule was asked.
        assert answer.status_code == httpx2.codes.BAD_REQUEST
        field, sentence = next(iter(wrong.items()))
        return Refused(next((why for why in every_refusal() if says(sentence, why)), no.Misshapen), field)
    sentence, *again = told.alerts
    why = who_says(sentence)
    # Above both versions of a stale edit it stands once more, and the style shows it there alone.
    assert again == ([sentence] if why is no.Stale and 'id="bk-stale"' in answer.text else [])
    assert answer.status_code == status_of(why)
    has_field = why.field and any(
        f'name="{name}"' in answer.text for name in (why.field, why.field.removesuffix("_id"))
    )
    assert wrong == ({why.field: sentence} if has_field else {})
    return Refused(why)


def field_names(column: str) -> tuple[str, str]:
    """Give what the field of a column may be called: a form names relations, a table their numbers."""
    return column, column.removesuffix("_id")


def who_says(sentence: str) -> type[no.Refusal]:
    """Give the refusal that says this, to the letter if there is one."""
    saying = [why for why in every_refusal() if says(sentence, why)]
    assert saying, sentence
    return min(saying, key=lambda why: (why.__doc__ or "").count("{"))


def says(sentence: str, why: type[no.Refusal]) -> bool:
    """Whether a sentence is this refusal's, whatever its details."""
    return bool(re.fullmatch(".+".join(map(re.escape, re.split(r"\{\w+\}", why.__doc__ or ""))), sentence))
