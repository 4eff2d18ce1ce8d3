"""Calendar days as (year, month, day), of the sandbox's toolbox."""

Date = tuple[int, int, int]


def is_leap_year(year: int) -> bool:
    """The Gregorian rule."""
    if year % 400 == 0:
        return True
    return year % 4 == 0 and year % 100 != 0


def days_in_month(year: int, month: int) -> int:
    """28 to 31."""
    if month < 1 or month > 12:
        raise ValueError("no such month")
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    return 30 if month in (4, 6, 9, 11) else 31


def weekday(date: Date) -> int:
    """0 for Monday to 6 for Sunday, by Zeller's rule."""
    year, month, day = date
    if month < 3:
        month += 12
        year -= 1
    century, rest = divmod(year, 100)
    number = (day + 13 * (month + 1) // 5 + rest + rest // 4 + century // 4 + 5 * century) % 7
    return (number + 5) % 7


def day_of_year(date: Date) -> int:
    """1 for the first of January."""
    year, month, day = date
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    total = sum(lengths[: month - 1]) + day
    if month > 2 and ((year % 4 == 0 and year % 100 != 0) or year % 400 == 0):
        total += 1
    return total


def add_months(date: Date, months: int) -> Date:
    """The same day some months on; the last day of a shorter month."""
    year, month, day = date
    position = year * 12 + month - 1 + months
    year, month = position // 12, position % 12 + 1
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    last = lengths[month - 1]
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        last = 29
    return year, month, min(day, last)


def age_in_years(born: Date, today: Date) -> int:
    """Completed years; the birthday itself completes one."""
    years = today[0] - born[0]
    if today[1] < born[1] or (today[1] == born[1] and today[2] < born[2]):
        years -= 1
    return years


def parse_date(text: str) -> Date:
    """The day of a text such as 2024-02-29."""
    parts = text.split("-")
    if len(parts) != 3 or len(parts[0]) != 4:
        raise ValueError("not a date")
    year, month, day = int(parts[0]), int(parts[1]), int(parts[2])
    if month < 1 or month > 12 or day < 1:
        raise ValueError("no such day")
    longest = 30 if month in (4, 6, 9, 11) else 31
    if month == 2:
        longest = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    if day > longest:
        raise ValueError("no such day")
    return year, month, day


def quarter_bounds(year: int, quarter: int, first_month: int = 1) -> tuple[Date, Date]:
    """The first days of a quarter and of the next one, for a year that starts in a month."""
    if quarter < 1 or quarter > 4:
        raise ValueError("no such quarter")
    start = first_month - 1 + (quarter - 1) * 3
    end = start + 3
    return (year + start // 12, start % 12 + 1, 1), (year + end // 12, end % 12 + 1, 1)


def workdays_between(first_weekday: int, days: int, holidays: list[int]) -> int:
    """Workdays among some days that begin on a weekday (0 = Monday); holidays are offsets."""
    total = 0
    for offset in range(days):
        weekday_now = (first_weekday + offset) % 7
        if weekday_now < 5 and offset not in holidays:
            total += 1
    return total


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "is_leap_year": [(2000,), (1900,), (2024,), (2023,), (2100,), (1996,), (2400,)],
    "days_in_month": [
        (2024, 2),
        (2023, 2),
        (1900, 2),
        (2000, 2),
        (2023, 4),
        (2023, 12),
        (2023, 1),
        (2023, 11),
        (2023, 0),
        (2023, 13),
        (2023, 7),
    ],
    "weekday": [
        ((2024, 2, 29),),
        ((2000, 1, 1),),
        ((1999, 12, 31),),
        ((2023, 3, 1),),
        ((2026, 2, 1),),
        ((1900, 7, 15),),
    ],
    "day_of_year": [
        ((2023, 1, 1),),
        ((2023, 3, 1),),
        ((2024, 3, 1),),
        ((1900, 12, 31),),
        ((2000, 12, 31),),
        ((2024, 2, 29),),
    ],
    "add_months": [
        ((2024, 1, 31), 1),
        ((2023, 1, 31), 1),
        ((2023, 12, 15), 1),
        ((2024, 3, 31), -1),
        ((2000, 2, 29), 12),
        ((2023, 5, 31), 25),
        ((1999, 12, 30), 2),
        ((2099, 12, 31), 2),
    ],
    "age_in_years": [
        ((2000, 5, 10), (2020, 5, 10)),
        ((2000, 5, 10), (2020, 5, 9)),
        ((2000, 5, 10), (2020, 4, 30)),
        ((2000, 5, 10), (2020, 6, 1)),
        ((2000, 2, 29), (2001, 2, 28)),
    ],
    "parse_date": [
        ("2024-02-29",),
        ("2023-02-29",),
        ("2023-04-30",),
        ("2023-04-31",),
        ("2023-12-31",),
        ("2023-13-01",),
        ("23-01-01",),
        ("2023-01",),
        ("2023-00-01",),
        ("2023-01-00",),
        ("2023-01-01",),
        ("1900-02-29",),
        ("2000-02-29",),
        ("2023-02-28",),
        ("2023-07-32",),
        ("2024-02-30",),
    ],
    "quarter_bounds": [(2024, 1), (2024, 4), (2024, 2, 4), (2024, 4, 4), (2024, 0), (2024, 5), (2023, 3, 10)],
    "workdays_between": [(0, 7, []), (5, 2, []), (4, 4, []), (0, 10, [0, 5]), (2, 0, []), (6, 15, [3])],
}
