"""The address in ``type`` of every problem explains it, in a sentence without placeholders."""

import re

import httpx2
from starlette.applications import Starlette

from api.problems import STATUS_TITLES, code_of_status, iter_refusals, status_of
from bookit.settings import Settings
from server.app import build

SENTENCE = re.compile(r"[A-Z][^{}]*[^{}\s]")


async def explain(client: httpx2.AsyncClient, code: str) -> tuple[int, int, str]:
    """Return the status of the explanation of a code, and the status and the meaning that it names."""
    answer = await client.get(f"/problems/{code}")
    meaning = answer.json()
    assert (meaning["code"], answer.headers["content-type"]) == (code, "application/json"), answer.text
    return answer.status_code, meaning["status"], meaning["meaning"]


async def test_every_code_is_explained(visitor: httpx2.AsyncClient) -> None:
    codes = {refusal.code(): status_of(refusal) for refusal in iter_refusals()}
    codes |= {code_of_status(status): status for status in STATUS_TITLES}

    meanings = {code: await explain(visitor, code) for code in codes}

    assert {code: meaning[:2] for code, meaning in meanings.items()} == {code: (200, codes[code]) for code in codes}
    assert [meaning for meaning in meanings.values() if not SENTENCE.fullmatch(meaning[2])] == []


async def test_the_type_of_an_answer_resolves(visitor: httpx2.AsyncClient) -> None:
    answers = [
        await visitor.get("/nowhere"),
        await visitor.put("/services"),
        await visitor.get("/me"),
        await visitor.get("/services/5"),
        await visitor.get("/v1/services?limit=x"),
        await visitor.post("/auth/login", content=b"{", headers={"Content-Type": "application/json"}),
    ]

    for answer in answers:
        problem = answer.json()
        explained = await visitor.get(str(answer.url.join(problem["type"])))

        assert explained.json()["status"] == problem["status"]


async def test_a_meaning_has_plain_words_for_its_values(visitor: httpx2.AsyncClient) -> None:
    assert (await explain(visitor, "too-soon"))[2] == "Please book at least the required time in advance."
    assert (await explain(visitor, "minutes-out-of-range"))[2] == (
        "The value must be between its minimum and its maximum."
    )


async def test_the_staff_door_alone_explains_its_problems_too(settings: Settings, app: Starlette) -> None:
    other = build(settings.model_copy(update={"bookit_only": "admin"}))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(other), base_url="http://bookit.test") as client:
        assert (await explain(client, "not-found"))[1] == 404
