"""What services need beside their first resource, in requests and responses."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, create_model
from sqlalchemy import JSON, literal_column

from api.schemas import BodyId, RequestModel, ResponseModel, field_from_table
from bookit.needs import Need
from bookit.schema.tables import MAX_ROLES, ServiceNeed

NEED_COLUMNS = ("role", "seats", "free_from_minutes", "free_until_minutes")
NEED_RESOURCES = "The ids of the resources that can fill it."


def require_different(resource_ids: list[int]) -> list[int]:
    """Return a list of ids. Raise ValueError if it has one twice."""
    if len(set(resource_ids)) < len(resource_ids):
        message = "Name each resource only once"
        raise ValueError(message)
    return resource_ids


def to_need(need: Any) -> Need:
    """Return a need of a request as the catalogue takes it."""
    return Need(tuple(need.resource_ids), **{name: getattr(need, name) for name in NEED_COLUMNS})


def need_fields(*, is_request: bool) -> dict[str, Any]:
    """Return the fields of a need, which are columns of its table."""
    return {name: field_from_table(ServiceNeed, name, is_request=is_request) for name in NEED_COLUMNS}


NEW_RESOURCES: Any = Annotated[
    list[BodyId],
    Field(min_length=1, max_length=100, json_schema_extra={"uniqueItems": True}),
    AfterValidator(require_different),
]
RESOURCES_FIELD = Field(title="Resources", description=NEED_RESOURCES)
NewServiceNeed: Any = create_model(
    "NewServiceNeed",
    __base__=RequestModel,
    __doc__=ServiceNeed.__doc__,
    **{"resource_ids": (NEW_RESOURCES, RESOURCES_FIELD)} | need_fields(is_request=True),
)
NeedResponse: Any = create_model(
    "ServiceNeed",
    __base__=ResponseModel,
    __doc__=ServiceNeed.__doc__,
    **need_fields(is_request=False) | {"resource_ids": (list[int], RESOURCES_FIELD)},
)
NEEDS_DESCRIPTION = (
    "What a visit needs beside the resource that serves it, such as a room: up to four more, each another resource."
)
NEEDS_FIELD = (
    Annotated[list[Annotated[NewServiceNeed, AfterValidator(to_need)]] | None, Field(max_length=MAX_ROLES - 1)],
    Field(default=None, title="Needs", description=f"{NEEDS_DESCRIPTION} A change replaces all of them."),
)
NEEDS_RESPONSE = (list[NeedResponse], Field(title="Needs", description=NEEDS_DESCRIPTION))
NEEDS_OF_SERVICE = literal_column(
    """(
  SELECT coalesce(json_agg(json_build_object(
           'role', n.role, 'resource_ids', ARRAY(
             SELECT o.resource_id FROM need_resources o WHERE o.need_id = n.id ORDER BY o.resource_id),
           'seats', n.seats, 'free_from_minutes', n.free_from_minutes, 'free_until_minutes', n.free_until_minutes
         ) ORDER BY n.position), '[]')
    FROM service_needs n WHERE n.service_id = services.id)""",
    JSON,
)
