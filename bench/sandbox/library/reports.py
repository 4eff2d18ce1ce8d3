"""Reports built from the other modules of the sandbox's toolbox."""

from . import averages, clock, dates, formatting, intervals, lists, money, numbers, scheduling, scoring, tables, text


def invoice_line(name: str, net: int, percent: int) -> str:
    """A line of an invoice: name, gross price."""
    gross = money.add_tax(money.discount(net, percent))
    return formatting.pad_columns([text.truncate(name, 20), money.format_cents(gross)], [20, 12])


def sales_summary(rows: list[dict[str, int]]) -> str:
    """Total, average and best days of sales."""
    amounts = [float(row["amount"]) for row in rows]
    best = tables.top_rows(rows, "amount", 2)
    return formatting.join_words([str(tables.column_total(rows, "amount")), str(averages.mean(amounts)), str(best)])


def team_table(results: list[tuple[str, str, int, int]]) -> list[str]:
    """Numbered standings."""
    lines = []
    for place, (team, points, _) in enumerate(scoring.standings(results)):
        lines.append(formatting.pad_columns([formatting.ordinal(place + 1), team, str(points)], [5, 12, 4]))
    return lines


def rota(people: list[str], days: int, first_weekday: int) -> list[str]:
    """Who works on each workday."""
    workdays = dates.workdays_between(first_weekday, days, [])
    return scheduling.round_robin(people, workdays)


def busy_report(meetings: list[tuple[int, int]]) -> str:
    """Busy minutes, the largest overlap and the first free half hour of a day."""
    busy = intervals.covered_length(meetings)
    free = intervals.first_free_slot(meetings, 30, 540, 1020)
    return f"{busy} min, {intervals.most_at_once(meetings)} at once, free at {clock.format_clock(max(free, 0))}"


def batch_plan(tasks: list[int], workers: int) -> list[list[int]]:
    """Loads of the workers, in rows of three."""
    return lists.chunks(scheduling.balance_load(tasks, numbers.clamp(workers, 1, 16)), 3)


def payroll_line(name: str, start: int, end: int, rate: int) -> str:
    """A line of the payroll."""
    return f"{text.title_case(name)}: {money.format_cents(clock.shift_pay(start, end, rate))}"


def age_groups(births: list[tuple[int, int, int]], today: tuple[int, int, int]) -> list[int]:
    """A histogram of ages in decades."""
    ages = [dates.age_in_years(born, today) for born in births]
    return averages.histogram([numbers.clamp(age, 0, 99) for age in ages], 0, 100, 10)


def merged_calendar(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> list[str]:
    """The hours of two calendars as text."""
    lines = []
    for start, end in intervals.merge_intervals(first + second):
        lines.append(f"{clock.format_clock(start)}-{clock.format_clock(end)}")
    return lines


def price_spread(prices: list[float]) -> str:
    """Median, quartiles and mean of prices."""
    if not prices:
        return "no prices"
    low, high = averages.percentile(prices, 25), averages.percentile(prices, 75)
    return f"{averages.median(prices)} ({low} to {high}), mean {averages.mean(prices)}"
