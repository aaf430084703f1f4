"""What a door answers when it refuses: which refusal that is, and where it stands."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser

import httpx2
from sqlmodel import SQLModel

from api.problems import iter_refusals, status_of
from bookit import refusals as no


@dataclass(frozen=True)
class RefusalOutcome:
    """A refusal, and the field it stands on: its own, unless another is named.

    Shapes are told by each door in its own words, so that each of them is ``Misshapen`` of its field here.
    """

    refusal: type[no.Refusal]
    field: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "field", self.field or self.refusal.field)
        if issubclass(self.refusal, no.Misshapen):
            object.__setattr__(self, "refusal", no.Misshapen)


class PageMessages(HTMLParser):
    """What a page says: what was wrong, above its form and on its fields, and what was done."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.alerts: list[str] = []
        self.successes: list[str] = []
        self.field_errors: dict[str, str] = {}
        self._tag = self._field = self._role = ""
        self._text_parts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where a sentence begins, and on which field."""
        given = dict(attrs)
        name = given.get("id") or ""
        is_of_field = name.endswith("-error")
        role = given.get("role") or ""
        if is_of_field or role in {"alert", "status"}:
            self._tag, self._field, self._text_parts = tag, name.removesuffix("-error") if is_of_field else "", []
            self._role = role

    def handle_data(self, data: str) -> None:
        """Note a part of a sentence."""
        self._text_parts.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Note a sentence."""
        sentence = " ".join("".join(self._text_parts).split())
        if tag != self._tag or not sentence:
            return
        if self._field:
            self.field_errors[self._field] = sentence
        else:
            (self.successes if self._role == "status" else self.alerts).append(sentence)
        self._tag = ""


def refusal_from_status(answer: httpx2.Response) -> RefusalOutcome:
    """Read a page that is not there for this person, or for anybody: it has a status, and no sentence of a rule."""
    kinds: dict[int, type[no.Refusal]] = {403: no.Forbidden, 404: no.Missing}
    return RefusalOutcome(kinds[answer.status_code])


def refusal_from_form(answer: httpx2.Response, table: type[SQLModel]) -> RefusalOutcome:
    """Read a form that came back: a refusal has its status, and stands above the form and on its field."""
    told = PageMessages(answer.text)
    wrong = {
        f"{name}_id" if f"{name}_id" in table.model_fields else name: said.partition(" Next free: ")[0]
        for name, said in told.field_errors.items()
    }  # What is free instead stands behind the refusal, and is asked for in tests of its own.
    if not told.alerts:  # Fields that could not be read: no rule was asked.
        assert answer.status_code == httpx2.codes.BAD_REQUEST
        field, sentence = next(iter(wrong.items()))
        return RefusalOutcome(
            next((why for why in iter_refusals() if is_message_of(sentence, why)), no.Misshapen), field
        )
    sentence, *again = told.alerts
    why = refusal_with_message(sentence)
    # Above both versions of a stale edit it stands once more, and the style shows it there alone.
    assert again == ([sentence] if why is no.Stale and 'id="bk-stale"' in answer.text else [])
    assert answer.status_code == status_of(why)
    has_field = why.field and any(
        f'name="{name}"' in answer.text for name in (why.field, why.field.removesuffix("_id"))
    )
    assert wrong == ({why.field: sentence} if has_field else {})
    return RefusalOutcome(why)


def form_field_names(column: str) -> tuple[str, str]:
    """Give what the field of a column may be called: a form names relations, a table their numbers."""
    return column, column.removesuffix("_id")


def refusal_with_message(sentence: str) -> type[no.Refusal]:
    """Give the refusal that says this, to the letter if there is one."""
    saying = [why for why in iter_refusals() if is_message_of(sentence, why)]
    assert saying, sentence
    return min(saying, key=lambda why: (why.__doc__ or "").count("{"))


def is_message_of(sentence: str, refusal: type[no.Refusal]) -> bool:
    """Whether a sentence is this refusal's, whatever its details."""
    return bool(re.fullmatch(".+".join(map(re.escape, re.split(r"\{\w+\}", refusal.__doc__ or ""))), sentence))
