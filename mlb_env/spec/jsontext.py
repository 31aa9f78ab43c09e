"""JSON that somebody else wrote: every way in which it can be broken is one kind of error."""

from __future__ import annotations

import json
from typing import Any


class BadJson(ValueError):
    """The text is not JSON that can be read; the message is one line."""


def parse_json(text: str) -> Any:
    """The data of a JSON text.

    Raises:
        BadJson: broken syntax, nesting too deep, a number too long to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise BadJson("it is nested too deeply") from None
    except ValueError as error:  # syntax errors, and integers of thousands of digits
        raise BadJson(str(error).splitlines()[0][:200]) from None


def clean(text: str) -> str:
    """Text that can be written as UTF-8: half surrogate pairs, as cut model output has them, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
