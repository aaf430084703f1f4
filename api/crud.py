"""Generated endpoints: one declaration per table makes list, get, create, change and delete.

They write through ``bookit.records``, so the rules of the table and the permissions apply. Handlers are written by hand
only where an address means more than a row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam
from sqlmodel import SQLModel, select

from api.access import ANYONE, Access, access_for
from api.context import RequestContext, Result
from api.endpoint import CONDITIONAL_HEADERS, Api, Endpoint
from api.listing import Filter, Listing
from api.pagination import BY_ID, PageQuery
from api.problems import Unreadable
from api.schemas import (
    ModelField,
    PathId,
    RequestModel,
    ResponseModel,
    get_provided_fields,
    make_change_model,
    make_create_model,
    make_row_model,
)
from bookit import records
from bookit import refusals as no
from bookit.db.session import Session
from bookit.db.statements import Row
from bookit.schema.tables import id_of, table_of

READ_ONLY_COLUMNS = {"id", "created_at", "version"}
Operation = Literal["list", "get", "create", "change", "delete"]
ALL_OPERATIONS: tuple[Operation, ...] = ("list", "get", "create", "change", "delete")


@dataclass(frozen=True, eq=False)
class Crud:
    """The handlers of the generated endpoints of one table, and their models."""

    table: type[SQLModel]
    path: str
    response_model: type[ResponseModel]
    create_model: type[RequestModel]
    change_model: type[RequestModel]
    listing: Listing
    read_access: Access
    refusals: Mapping[Operation, Sequence[type[no.Refusal]]]
    computed: Mapping[str, ColumnElement[Any]]

    async def list_rows(self, context: RequestContext, query: PageQuery) -> Result:
        return await self.listing.fetch_page(context, query)

    async def get_row(self, context: RequestContext, id: int) -> Row:
        rows = await context.database.fetch_batched(self.select_by_id, id=id)
        if not rows:
            raise no.Missing(what=self.entity)
        return rows[0]

    async def create_row(self, context: RequestContext, body: RequestModel) -> Result:
        async with context.transaction() as session:
            row = await records.create(session, self.table, **context.actor_and_time, **get_provided_fields(body))
            answer = await self.with_computed(session, row)
        return Result(answer, {"Location": f"{context.request.url.path}/{id_of(row)}"})

    async def change_row(self, context: RequestContext, id: int, body: RequestModel) -> SQLModel | Row:
        async with context.transaction() as session:
            row = await records.lock(session, self.table, id)
            changed = await records.change(
                session, row, **context.actor_and_time, **{"accepts_stranded": False, **get_provided_fields(body)}
            )
            # Only now, because a refusal of the rule comes first (RFC 9110, 13.2.1). It undoes the change.
            context.require_preconditions(row)
            return await self.with_computed(session, changed)

    async def delete_row(self, context: RequestContext, id: int) -> None:
        async with context.transaction() as session:
            row = await records.lock(session, self.table, id)
            await records.remove(session, row, **context.actor_and_time)
            context.require_preconditions(row)

    async def with_computed(self, session: Session, row: SQLModel) -> SQLModel | Row:
        """Return a row that was written with the fields that are computed, if the table has any."""
        return (await session.fetch(self.select_by_id, id=id_of(row)))[0] if self.computed else row

    @cached_property
    def select_by_id(self) -> Select[Any]:
        """The statement for one row with the fields that are computed."""
        return self.listing.select_statement.where(table_of(self.table).c.id == bindparam("id", type_=BigInteger))

    @property
    def entity(self) -> str:
        """The name of a row for people, such as "service"."""
        return records.display_name(self.table)

    @property
    def row_path(self) -> str:
        """The path of one row."""
        return f"{self.path}/{{id}}"

    def refusals_of(self, operation: Operation, *usual: type[no.Refusal]) -> tuple[type[no.Refusal], ...]:
        """Return the usual refusals of an operation, and those of this table."""
        return (*usual, *self.refusals.get(operation, ()))

    def name_of(self, operation: Operation) -> str:
        """Return the name of an endpoint, such as create_service or list_services."""
        name = f"{operation}_{self.entity.replace(' ', '_')}"
        return f"{name}s" if operation == "list" else name


def generate_endpoints(
    api: Api,
    table: type[SQLModel],
    path: str,
    *,
    read_access: Access = ANYONE,
    operations: Sequence[Operation] = ALL_OPERATIONS,
    hidden: Sequence[str] = (),
    create_only: Sequence[str] = (),
    filters: Mapping[str, Filter] | None = None,
    extra_fields: Mapping[str, tuple[Any, Any]] | None = None,
    change_fields: Mapping[str, tuple[Any, Any]] | None = None,
    computed: Mapping[str, tuple[ModelField, ColumnElement[Any]]] | None = None,
    refusals: Mapping[Operation, Sequence[type[no.Refusal]]] | None = None,
) -> Crud:
    """Declare the endpoints of a table at this path.

    Columns that are ``hidden`` are neither sent nor accepted; those that are ``create_only`` cannot change.
    ``extra_fields`` are what the rule of the table takes besides its columns, and ``change_fields`` what a change takes
    besides those. ``computed`` are fields of responses that are no columns, each with its expression. ``refusals`` are
    added to the usual ones.
    """
    computed = computed or {}
    expressions = {name: expression.label(name) for name, (_, expression) in computed.items()}
    columns = [column.name for column in table_of(table).columns if column.name not in hidden]
    writable = [name for name in columns if name not in READ_ONLY_COLUMNS]
    crud = Crud(
        table,
        path,
        make_row_model(table, *columns, **{name: response_field for name, (response_field, _) in computed.items()}),
        make_create_model(table, *writable, **(extra_fields or {})),
        make_change_model(
            table,
            *(name for name in writable if name not in create_only),
            **(extra_fields or {}),
            **(change_fields or {}),
        ),
        Listing(select(table, *expressions.values()), BY_ID, filters or {}),
        read_access,
        refusals or {},
        expressions,
    )
    api.endpoints += [ENDPOINT_FACTORIES[operation](crud) for operation in operations]
    return crud


def make_list_endpoint(crud: Crud) -> Endpoint:
    return Endpoint(
        method="GET",
        path=crud.path,
        handler=crud.list_rows,
        name=crud.name_of("list"),
        description=f"List {crud.entity}s.",
        inputs={"query": crud.listing.make_query_model(f"{crud.table.__name__}Query")},
        response_type=list[crud.response_model],  # type: ignore[name-defined]  # made from the table
        tag=f"{crud.entity}s",
        access=crud.read_access,
        refusals=crud.listing.refusals,
    )


def make_get_endpoint(crud: Crud) -> Endpoint:
    return Endpoint(
        method="GET",
        path=crud.row_path,
        handler=crud.get_row,
        name=crud.name_of("get"),
        description=f"Get one {crud.entity}.",
        inputs={"id": PathId},
        response_type=crud.response_model,
        tag=f"{crud.entity}s",
        access=crud.read_access,
        refusals=(no.Missing,),
        headers=("If-None-Match",),
    )


def make_create_endpoint(crud: Crud) -> Endpoint:
    return Endpoint(
        method="POST",
        path=crud.path,
        handler=crud.create_row,
        name=crud.name_of("create"),
        description=f"Create a {crud.entity}.",
        inputs={"body": crud.create_model},
        response_type=crud.response_model,
        tag=f"{crud.entity}s",
        status=201,
        access=access_for("create", crud.table),
        refusals=crud.refusals_of("create", Unreadable),
    )


def make_change_endpoint(crud: Crud) -> Endpoint:
    return Endpoint(
        method="PATCH",
        path=crud.row_path,
        handler=crud.change_row,
        name=crud.name_of("change"),
        description=f"Change the fields of a {crud.entity} that are sent.",
        inputs={"id": PathId, "body": crud.change_model},
        response_type=crud.response_model,
        tag=f"{crud.entity}s",
        access=access_for("change", crud.table),
        refusals=crud.refusals_of("change", no.Missing, no.Stale, Unreadable),
        headers=CONDITIONAL_HEADERS,
    )


def make_delete_endpoint(crud: Crud) -> Endpoint:
    return Endpoint(
        method="DELETE",
        path=crud.row_path,
        handler=crud.delete_row,
        name=crud.name_of("delete"),
        description=f"Delete a {crud.entity} to which no other row refers.",
        inputs={"id": PathId},
        response_type=None,
        tag=f"{crud.entity}s",
        status=204,
        access=access_for("remove", crud.table),
        refusals=crud.refusals_of("delete", no.Missing, no.Stale),
        headers=CONDITIONAL_HEADERS,
    )


ENDPOINT_FACTORIES: Mapping[Operation, Callable[[Crud], Endpoint]] = {
    "list": make_list_endpoint,
    "get": make_get_endpoint,
    "create": make_create_endpoint,
    "change": make_change_endpoint,
    "delete": make_delete_endpoint,
}
