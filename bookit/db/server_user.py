"""The user that PostgreSQL runs as, and the folders that only this user may enter: PostgreSQL does not run as root."""

import os
import pwd
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from bookit.db.restarts import DatabaseWillNotStart

CAPABILITIES = ("dac_read_search", "dac_override")  # read any file; access any file, as containers lack the former


def create_private_folder(user: tuple[int, int] | None, parent: Path | str, prefix: str) -> Path:
    """Create a private folder that belongs to ``user``. A descriptor keeps chown from following a link in its place."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    give_to(user, folder)
    return folder


def give_to(user: tuple[int, int] | None, folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    os.fchown(descriptor, *(user or (-1, -1)))
    os.close(descriptor)


def choose_user(home: Path) -> tuple[int, int]:
    """Return the user root's server runs as: the home's owner if possible. Give it access through root's own home."""
    status, names = home.stat(), ["postgres", "nobody"]
    with suppress(KeyError):  # a user without a name, which initdb does not accept
        names.insert(0, home.owner())
    for name in names:
        with suppress(KeyError):
            if (user := pwd.getpwnam(name)).pw_uid:
                break
    else:
        raise DatabaseWillNotStart(
            "PostgreSQL does not run as root, and no other user exists. Run BookIt as an ordinary user."
        )
    if status.st_uid == 0 and stat.S_IMODE(status.st_mode) == stat.S_IRWXU:
        os.chown(home, -1, user.pw_gid)
        home.chmod(stat.S_IRWXU | stat.S_IXGRP)
    return user.pw_uid, user.pw_gid


def run_as(uid: int, gid: int, *paths: str) -> tuple[list[str], dict[str, Any]]:
    """Return a command prefix and subprocess options with which root runs a command as a user.

    The user must have access to ``paths``. Below a closed folder, such as /root, it keeps one of root's CAPABILITIES;
    the securebits make it count where PostgreSQL's programs call access(2).
    """
    check_access = ["sh", "-c", 'for path; do test -r "$path" -a -x "$path" || exit 1; done', "sh", *paths]
    setpriv = ["setpriv", "--securebits=+no_setuid_fixup", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    choices: list[tuple[list[str], dict[str, Any]]] = [([], {"user": uid, "group": gid, "extra_groups": []})]
    choices += [([*setpriv, f"--inh-caps=-all,+{name}", f"--ambient-caps=-all,+{name}"], {}) for name in CAPABILITIES]
    for prefix, options in choices:
        with suppress(FileNotFoundError, PermissionError, subprocess.CalledProcessError):
            subprocess.run([*prefix, *check_access], **options, stderr=subprocess.DEVNULL, check=True)
            return prefix, options
    reason = f"PostgreSQL would run as the user with uid {uid}, who has no access to {' and '.join(paths)}."
    raise DatabaseWillNotStart(f"{reason} Set BOOKIT_HOME to a folder with access, or run as an ordinary user.")
