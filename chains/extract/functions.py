"""The code of the chain `extract`: checks of what the model copied, and what is made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

_FORMS = ("%Y-%m-%d", "%d %B %Y", "%B %d %Y")


def problems(output: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """What cannot be right in an order that was copied from `text`, in words that the model can act on."""
    text = context["vars"]["text"]
    found = [
        f"{name} is {output[name]}, which is not in the message"
        for name in ("item", "deliver_on", "payment")
        if not _stands_in(output[name], text)
    ]
    found += [
        f"{name} is {output[name]}, a number that is not in the message"
        for name in ("unit_price", "total")
        if not _number_in(output[name], text)
    ]
    quantity, price, total = output["quantity"], output["unit_price"], output["total"]
    if round(quantity * price, 2) != round(total, 2):
        found.append(f"quantity * unit_price is {quantity} * {price} = {quantity * price:.2f}, and total is {total}")
    if _date(output["deliver_on"]) is None:
        found.append(f"deliver_on is {output['deliver_on']}, which is no date with day, month and year")
    return {"pass": not found, "score": 1.0 if not found else 0.0, "reason": "; ".join(found) or "it fits"}


def normalise(text: str, copied: Mapping[str, Any]) -> dict[str, Any]:
    """The order as data: a date in ISO form; no reference where the message has none."""
    day = _date(copied["deliver_on"])
    order = {**copied, "deliver_on": day.isoformat() if day else copied["deliver_on"]}
    reference = order.pop("reference")
    if reference != "none" and _stands_in(reference, text) and reference not in copied["deliver_on"]:
        order["reference"] = reference
    return order


def _stands_in(words: str, text: str) -> bool:
    return bool(words.strip()) and " ".join(words.split()).casefold() in " ".join(text.split()).casefold()


def _number_in(number: float, text: str) -> bool:
    return any(float(found.replace(",", "")) == number for found in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text))


def _date(words: str) -> date | None:
    plain = re.sub(r"(?<=\d)(st|nd|rd|th)\b|,", "", " ".join(words.split()))
    for form in _FORMS:
        try:
            return datetime.strptime(plain, form).date()
        except ValueError:
            continue
    return None
