"""Asks before it deletes what keeps visits to come in open time: opening hours, or an extra opening."""

from typing import Any, Unpack

from sqladmin import Flash
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.custom_page import CustomPage
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_ids
from admin.framework.permissions import require_permission
from admin.framework.stranded_visits import FIELD, accepted_visits
from admin.framework.transactions import ActorAndTime, run_act
from bookit import records
from bookit import refusals as no
from bookit.db.session import Session


async def confirm_deletion(request: Request) -> Response:
    """Show the visits that a deletion would strand; on POST, delete the rows if exactly these were shown."""
    context = context_of(request)
    view = context.site._find_model_view(request.path_params["identity"])  # noqa: SLF001 -- SQLAdmin has no other way
    require_permission(request, "remove", view.model)
    stranded_by_id = {}
    for row_id in parse_ids(request.query_params.get("pks", "").split(",")):
        try:
            await delete_row(request, view.model, row_id)
        except no.StrandsVisits as refusal:
            stranded_by_id[row_id] = refusal
        except no.Refusal as refusal:
            Flash.error(request, f"#{row_id}: {refusal}")
    if request.method == "POST" and not stranded_by_id:
        return RedirectResponse(request.url_for("admin:list", identity=view.identity), 303)
    page_state(request).refusal = next(iter(stranded_by_id.values()), None)
    values = {"model_view": view, "stranded_by_id": stranded_by_id, "field_name": FIELD}
    return await context.render(request, "delete.html", values)


async def delete_row(request: Request, table: Any, row_id: int) -> None:
    """Delete a row, or on GET only try to. Raise the refusal that it meets."""
    accepted = await accepted_visits(request, f"{FIELD}-{row_id}")

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
        row = await records.lock(session, table, row_id)
        await records.remove(session, row, **by_and_now, accepts_stranded=accepted)

    await run_act(request, act, dry_run=request.method == "GET")


PAGE = CustomPage("/{identity}/confirm-deletion", "confirm-deletion", confirm_deletion, ("GET", "POST"))
