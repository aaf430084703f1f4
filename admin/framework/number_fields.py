"""Form fields for numbers, read as people write them and never guessed.

Python would read 1_000, +5, 1e2 and the digits of other scripts; a browser's own number box turns 12,50 into 1250.
"""

import re
from decimal import Decimal
from typing import Any

from wtforms import DecimalField, IntegerField
from wtforms.widgets import TextInput

from bookit.validation_messages import NUMBER, WHOLE_NUMBER

WHOLE = re.compile(r"-?[0-9]{1,18}")
AMOUNT = re.compile(r"-?[0-9]{1,18}([.,][0-9]{1,18})?")
GROUPED = re.compile(r"-?[0-9]{1,3}([., '\xa0\u2009\u202f\u2019][0-9]{3})+([.,][0-9]*)?")
WITHOUT_GROUPS = "Write the number without separators between thousands, such as 1234.50."


def require_ungrouped(text: str) -> None:
    """Raise ValueError if a number has separators between thousands, as in 1.234,50 and 1 234."""
    if GROUPED.fullmatch(text):
        raise ValueError(WITHOUT_GROUPS)


class WholeNumberField(IntegerField):  # type: ignore[misc]  # WTForms has no types
    """A whole number, in the digits 0 to 9."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """Read what was typed. Raise ValueError if it is no whole number."""
        if not valuelist:
            return
        self.data = None
        self.data = self.parse(valuelist[0].strip())

    @staticmethod
    def parse(text: str) -> int:
        """Return the number of a text. Raise ValueError if it is no whole number."""
        if not WHOLE.fullmatch(text):
            require_ungrouped(text)
            message = f"{WHOLE_NUMBER}, such as 45."
            raise ValueError(message)
        return int(text)


class AmountField(DecimalField):  # type: ignore[misc]  # as above
    """An amount, with a decimal point or a decimal comma."""

    widget = TextInput()  # A browser's number box drops a comma that its own language does not use.

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["render_kw"] = {**kwargs.get("render_kw", {}), "inputmode": "decimal"}
        super().__init__(*args, places=None, **kwargs)

    def process_formdata(self, valuelist: list[str]) -> None:
        """Read what was typed. Raise ValueError if it is no number, or could be two numbers."""
        if not valuelist:
            return
        self.data = None
        text = valuelist[0].strip()
        if not AMOUNT.fullmatch(text) or re.fullmatch(r"-?[1-9][0-9]{0,2}[.,][0-9]{3}", text):
            require_ungrouped(text)
            message = f"{NUMBER}, such as 12.50."
            raise ValueError(message)
        self.data = Decimal(text.replace(",", "."))
