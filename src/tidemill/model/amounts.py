"""Amounts as people write them: bytes and seconds."""

import math
import re

from tidemill.model.errors import UsageError

_UNITS = {
    "": 1,
    "K": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "KI": 1 << 10,
    "MI": 1 << 20,
    "GI": 1 << 30,
    "TI": 1 << 40,
}
_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", re.IGNORECASE)
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*")
_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*(sec|min|s|m|h|d)\s*")
_CLOCK = re.compile(r"\s*(?:(\d+)-)?(?:(\d+):)?(\d+):(\d{1,2}(?:\.\d+)?)\s*")


def size(name: str, value: int | str) -> int:
    """Bytes from a number of bytes or a text such as "2 GiB" or "500MB".

    Args:
        name: of the option, for the message.
        value: what was written.

    Raises:
        UsageError: if it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62:
        return value
    found = _BYTES.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2].upper() not in _UNITS or (n := float(found[1]) * _UNITS[found[2].upper()]) >= 1 << 62:
        raise UsageError(
            f"{name}={value!r} is not an amount of {name}", hint='Write bytes as an integer, or a text such as "2 GiB".'
        )
    return int(n)


def seconds(name: str, value: float | str) -> float:
    """Seconds from a number or a text: "90s", "2h", "1h 30min", "1:30:00" (hours:minutes:seconds), "2-12:00:00" (with
    days).

    Raises:
        UsageError: if it is none of these.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1e18:
        return float(value)
    found = _from_text(value.lower()) if isinstance(value, str) else None
    if found is None or not math.isfinite(found):
        raise UsageError(
            f"{name}={value!r} is not a time",
            hint='Write seconds as a number, 0 or more, or a text such as "90s", "2h" or "1:30:00".',
        )
    return found


def spare_bytes(used: int) -> int:
    """What to ask for where so many bytes were used: a fifth more, rounded up; 0 for 0."""
    wanted = used * 6 // 5
    step = max(1 << 20, 1 << max(0, wanted.bit_length() - 4))
    return -(-wanted // step) * step


def spare_seconds(used: float) -> float:
    """The same for seconds: at least one."""
    wanted = max(1.0, used * 1.2)
    step = 10.0 ** (math.floor(math.log10(wanted)) - 1)
    return round(math.ceil(wanted / step - 1e-9) * step, 6)


def _from_text(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes = (int(part or 0) for part in clock.groups()[:3])
        return days * 86400 + hours * 3600 + minutes * 60 + float(clock[4])
    at, total = 0, 0.0
    text = text.strip()
    while part := _PARTS.match(text, at):
        total += float(part[1]) * _SECONDS[part[2]]
        at = part.end()
    return total if at and at == len(text) else None
