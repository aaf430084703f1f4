"""The refusal in a response: which one it is, and which field it belongs to."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser

import httpx2
from sqlmodel import SQLModel

from api.problems import iter_refusals, status_of
from bookit import refusals as no


@dataclass(frozen=True)
class RefusalOutcome:
    """A refusal and its field: the refusal's own, unless another is named.

    API and desk report invalid values in different words, so each of them is ``Misshapen`` of its field here.
    """

    refusal: type[no.Refusal]
    field: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "field", self.field or self.refusal.field)
        if issubclass(self.refusal, no.Misshapen):
            object.__setattr__(self, "refusal", no.Misshapen)


class PageMessages(HTMLParser):
    """The messages of a page: errors above its form and on its fields, and confirmations."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.alerts: list[str] = []
        self.successes: list[str] = []
        self.field_errors: dict[str, str] = {}
        self._tag = self._field = self._role = ""
        self._text_parts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record where a sentence begins, and on which field."""
        attributes = dict(attrs)
        name = attributes.get("id") or ""
        is_of_field = name.endswith("-error")
        role = attributes.get("role") or ""
        if is_of_field or role in {"alert", "status"}:
            self._tag, self._field, self._text_parts = tag, name.removesuffix("-error") if is_of_field else "", []
            self._role = role

    def handle_data(self, data: str) -> None:
        """Record a part of a sentence."""
        self._text_parts.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Record a sentence."""
        sentence = " ".join("".join(self._text_parts).split())
        if tag != self._tag or not sentence:
            return
        if self._field:
            self.field_errors[self._field] = sentence
        else:
            (self.successes if self._role == "status" else self.alerts).append(sentence)
        self._tag = ""


def refusal_from_status(answer: httpx2.Response) -> RefusalOutcome:
    """Return the refusal of a page that has a status and no sentence of a rule."""
    kinds: dict[int, type[no.Refusal]] = {403: no.Forbidden, 404: no.Missing}
    return RefusalOutcome(kinds[answer.status_code])


def refusal_from_form(answer: httpx2.Response, table: type[SQLModel]) -> RefusalOutcome:
    """Return the refusal of a form that came back: it has a status, and stands above the form and on its field."""
    messages = PageMessages(answer.text)
    wrong = {
        f"{name}_id" if f"{name}_id" in table.model_fields else name: sentence.partition(" Next free: ")[0]
        for name, sentence in messages.field_errors.items()
    }  # The next free slots follow the refusal; other tests check them.
    if not messages.alerts:  # Fields that could not be parsed; no rule ran.
        assert answer.status_code == httpx2.codes.BAD_REQUEST
        field, sentence = next(iter(wrong.items()))
        return RefusalOutcome(
            next((why for why in iter_refusals() if is_message_of(sentence, why)), no.Misshapen), field
        )
    sentence, *again = messages.alerts
    why = refusal_with_message(sentence)
    # It is repeated above both versions of a stale edit; the style shows only that one.
    assert again == ([sentence] if why is no.Stale and 'id="bk-stale"' in answer.text else [])
    assert answer.status_code == status_of(why)
    has_field = why.field and any(
        f'name="{name}"' in answer.text for name in (why.field, why.field.removesuffix("_id"))
    )
    assert wrong == ({why.field: sentence} if has_field else {})
    return RefusalOutcome(why)


def form_field_names(column: str) -> tuple[str, str]:
    """Return the possible names of a column's form field: a form names relations, a table their ids."""
    return column, column.removesuffix("_id")


def refusal_with_message(sentence: str) -> type[no.Refusal]:
    """Return the refusal with this message, preferring an exact match."""
    saying = [why for why in iter_refusals() if is_message_of(sentence, why)]
    assert saying, sentence
    return min(saying, key=lambda why: (why.__doc__ or "").count("{"))


def is_message_of(sentence: str, refusal: type[no.Refusal]) -> bool:
    """Return whether a sentence is this refusal's, whatever its details."""
    return bool(re.fullmatch(".+".join(map(re.escape, re.split(r"\{\w+\}", refusal.__doc__ or ""))), sentence))
