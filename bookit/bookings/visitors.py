"""For whom a visit is: the customer, or somebody for whom the customer books."""

from typing import LiteralString

# The customer of a booking, whose user is u, with the name of who comes: "Petra Lustig for Emma".
CUSTOMER: LiteralString = "u.name || coalesce(' for ' || b.visitor_name, '')"
CUSTOMER_OF_N: LiteralString = "u.name || coalesce(' for ' || n.visitor_name, '')"


def name_customer(customer: str, visitor_name: str | None) -> str:
    """Return the name of a customer with the name of who comes, if that is somebody else."""
    return f"{customer} for {visitor_name}" if visitor_name else customer
