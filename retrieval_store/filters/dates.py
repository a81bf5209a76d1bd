"""Parses times as Qdrant does: the common forms of ISO 8601, in any time zone. A time without a
zone is in UTC."""

import re
from datetime import UTC, date, datetime
from functools import cache

_DAY = r"\s*([+-]\d{1,9}|\d{1,4})-\s*(\d{1,2})-\s*(\d\d|\d(?!\d))"
_CLOCK = r"\s*(\d{1,2}):\s*(\d{1,2})"
_SECOND = r":\s*(\d{1,2})(?:\.(\d+))?"
_ZONE = r"\s*(?:([Zz]|UTC|utc)|([-+\u2212])(\d\d)(?:[: ]*(\d\d))?)\s*"
# Dates, times without a zone, or times with a zone, which must have seconds.
_TIME = rf"{_DAY}(?:T?{_CLOCK}(?:{_SECOND})?)?|{_DAY}[Tt]?{_CLOCK}{_SECOND}{_ZONE}"
_FOUR_DIGITS = r"\s*\d{4}-"
_CLOCK_USUAL = r"(?:[01]\d|2[0-3]):[0-5]\d"
_USUAL = rf"\d{{4}}-\d\d-\d\d(?:T{_CLOCK_USUAL}:\d\d(?:\.\d{{6}})?(?:Z|[+-]{_CLOCK_USUAL})?)?"
SECOND = 1_000_000
MAX_YEARS = 262_142
_MONTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """Compile a pattern at its first use, because compiling takes a millisecond."""
    return re.compile(pattern, re.ASCII)


def micros_in(text: str) -> int | None:
    """The microseconds since 1970 (UTC) of the time in a text; None if the text isn't a time."""
    match = _compile(_TIME).fullmatch(text)
    if match is None:
        return None
    parts = match.groups()
    unzoned, zoned = parts[:7], parts[7:]
    year, month, day, hour, minute, second = (
        int(part or 0) for part in (unzoned if zoned[0] is None else zoned)[:6]
    )
    if not (_is_day(year, month, day) and hour < 24 and minute < 60 and second <= 60):
        return None
    fraction = (unzoned[6] or zoned[6] or "0")[:6].ljust(6, "0")
    east = _minutes_east(*zoned[8:])
    if east is None or (zoned[9] and not zoned[10] and "t" in text):  # so lax, but not both
        return None
    seconds = days_to(year, month, day) * 86_400 + hour * 3_600 + (minute - east) * 60 + second
    return seconds * SECOND + int(fraction)


def time_in(text: str) -> int | None:
    """Like `micros_in`, but only for years written with four digits. "10-1-01" is more likely a
    version or a code than a day in the year 10."""
    # Python parses these forms in the same way, in a tenth of the time.
    if _compile(_USUAL).fullmatch(text):
        try:
            return micros_of(datetime.fromisoformat(text))
        except ValueError:  # the day doesn't exist, or the time is a leap second
            pass
    return micros_in(text) if _compile(_FOUR_DIGITS).match(text) else None


def _minutes_east(sign: str | None, hours: str | None, minutes: str | None) -> int | None:
    """The offset of a time zone in minutes; None if the offset is invalid."""
    east = int(hours or 0) * 60 + int(minutes or 0)
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        return None
    return east if sign == "+" else -east


def micros_of(time: date) -> int:
    """The microseconds since 1970 (UTC) of a Python datetime or date."""
    if not isinstance(time, datetime):
        return days_to(time.year, time.month, time.day) * 86_400 * SECOND
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def days_to(year: int, month: int, day: int) -> int:
    """The days from 1970-01-01 to a date, in the Gregorian calendar. Python's own dates support
    only the years 1 to 9999."""
    year -= month <= 2  # years begin in March, so that a leap day is their last day
    century, of_era = divmod(year, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return century * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _is_day(year: int, month: int, day: int) -> bool:
    if not (abs(year) <= MAX_YEARS and 1 <= month <= 12):
        return False
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 1 <= day <= _MONTHS[month] + leap
