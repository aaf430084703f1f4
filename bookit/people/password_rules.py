"""What a new password must be: hard to guess, for somebody who knows its owner too (OWASP ASVS 4.0.3, 2.1.1 and 2.1.7).

A password that is in use already is not asked: nobody is kept out by a rule that is younger than their password.
"""

from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from itertools import islice
from pathlib import Path
from unicodedata import category, normalize

from bookit import refusals as no
from bookit.policy import limits

COMMON_PASSWORDS = 10_000
MIN_PART_LENGTH = 4  # of a part of a name or an e-mail address that is no password
# What a finger finds in a row on a keyboard; digits go round.
ROWS = ("0123456789" * 8, "abcdefghijklmnopqrstuvwxyz" * 3, "qwertyuiop" * 8, "asdfghjkl" * 8, "zxcvbnm" * 8)
SEQUENCES = ROWS + tuple(row[::-1] for row in ROWS)
OWN_WORDS = frozenset({"bookit", "bookitdemo"})
INVISIBLE_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")  # of a kind that is seen, but without a shape


def require_strong(password: str, *, name: str = "", email: str = "") -> None:
    """Raise a refusal unless this may be a new password of a person with this name and this e-mail address.

    The password is in NFC. Case, width and signs that nobody sees make no password better.
    """
    if sum(category(sign)[0] != "C" for sign in password) < limits.MIN_PASSWORD_LENGTH:
        raise no.PasswordTooShort
    shown = visible(password)
    if len(set(shown)) <= 1 or any(shown in sequence for sequence in SEQUENCES):
        raise no.PasswordTooSimple
    letters = letters_of(shown)
    if letters and letters in own_words(name, email):
        raise no.PasswordIsYourName
    if letters in OWN_WORDS or shown in common_passwords():
        raise no.PasswordTooCommon


def visible(text: str) -> str:
    """Return the signs of a text that can be seen, in one case and one width."""
    folded = normalize("NFKC", text).casefold()
    return "".join(sign for sign in folded if category(sign)[0] not in "CZ" and sign not in INVISIBLE_LETTERS)


def letters_of(text: str) -> str:
    """Return the letters of a text in lower case, without all that stands around and between them."""
    return "".join(sign for sign in visible(text) if sign.isalpha())


def own_words(name: str, email: str) -> set[str]:
    """Return what a person would be guessed by: name and e-mail address, whole and in parts, as their letters."""
    wholes = {name, email, email.partition("@")[0]}
    spaced = "".join(sign if sign.isalpha() else " " for sign in normalize("NFKC", f"{name} {email}"))
    parts = {part for part in spaced.split() if len(part) >= MIN_PART_LENGTH}
    return {letters_of(word) for word in wholes | parts}


@cache
def common_passwords() -> frozenset[str]:
    """Return the commonest passwords of a permitted length. The first call takes a hundredth of a second.

    The module of the list is loaded alone and let go: its package would keep 100,000 words and rank them all.
    """
    package = find_spec("zxcvbn")
    if package is None or not package.submodule_search_locations:
        raise ImportError("zxcvbn is not installed", name="zxcvbn")
    path = Path(package.submodule_search_locations[0]) / "frequency_lists.py"
    loader = SourceFileLoader("zxcvbn_frequency_lists", str(path))
    spec = spec_from_loader(loader.name, loader)
    if spec is None:
        raise ImportError("zxcvbn has no list of passwords", name="zxcvbn")
    module = module_from_spec(spec)
    loader.exec_module(module)
    words = (word for word in module.FREQUENCY_LISTS["passwords"] if len(word) >= limits.MIN_PASSWORD_LENGTH)
    return frozenset(islice(words, COMMON_PASSWORDS))
