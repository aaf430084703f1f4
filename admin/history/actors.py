"""Names the person behind a change, and the door through which it was made."""

from bookit.policy.permissions import ROLE_LABELS

DOOR_PHRASES = {
    "api": "through the API",
    "admin": "at the desk",
    "seed": "from the seed script",
    "worker": "in the background",
    "cli": "on the command line",
    "sql": "in the database console",
    "clock": "automatically",
}
ROLE_NAMES = {role.value: label.lower() for role, label in ROLE_LABELS.items()}
ANONYMOUS_LABELS = {"visitor": "A visitor", "admin": "An owner", "staff": "Staff"}


def actor_label(actor_id: int | None, name: str | None, actor: str, door: str) -> str:
    """Return who did something, and their role at the time; ``name`` is None for an account that was deleted."""
    if actor_id is None:
        anonymous = ANONYMOUS_LABELS.get(actor.partition(" ")[0], "Someone")
        return "BookIt" if door in {"worker", "clock"} else anonymous
    return f"{name or 'A deleted account'} ({actor_role(actor)})"


def actor_role(actor: str) -> str:
    """Return the role that an actor had at the time, in words."""
    role = actor.partition(" ")[0]
    return ROLE_NAMES.get(role, role)
