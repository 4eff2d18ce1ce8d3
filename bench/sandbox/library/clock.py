"""Times of day, counted in minutes after midnight, of the sandbox's toolbox."""


def parse_clock(text: str) -> int:
    """Minutes of a text such as 07:30 or 7:30pm."""
    shift = 0
    if text.endswith("pm"):
        shift = 12 * 60
    if text.endswith("am") or text.endswith("pm"):
        text = text[:-2]
        hours, minutes = text.split(":")
        return int(hours) % 12 * 60 + int(minutes) + shift
    hours, minutes = text.split(":")
    if int(hours) > 23 or int(minutes) > 59:
        raise ValueError("no such time")
    return int(hours) * 60 + int(minutes)


def format_clock(minutes: int, half_day: bool = False) -> str:
    """07:30, or 7:30am with `half_day`."""
    hours, rest = minutes // 60 % 24, minutes % 60
    if half_day:
        suffix = "am" if hours < 12 else "pm"
        return f"{(hours + 11) % 12 + 1}:{rest:02d}{suffix}"
    return f"{hours:02d}:{rest:02d}"


def minutes_between(start: int, end: int) -> int:
    """From a time to the next occurrence of another, past midnight if need be."""
    if end >= start:
        return end - start
    return 24 * 60 - start + end


def hand_angle(minutes: int) -> float:
    """The smaller angle between the hands of a clock, in degrees."""
    hour_hand = minutes % 720 * 0.5
    minute_hand = minutes % 60 * 6
    angle = abs(hour_hand - minute_hand)
    return min(angle, 360 - angle)


def round_to_slot(minutes: int, slot: int = 15) -> int:
    """The nearest slot boundary of a day; exactly half way goes up."""
    rounded = (minutes + slot // 2) // slot * slot
    return rounded % 1440


def shift_pay(start: int, end: int, rate: int, night_from: int = 1320, night_until: int = 360) -> int:
    """Cents for a shift at a rate per hour; minutes in the night count one and a half times."""
    length = end - start if end > start else end - start + 1440
    weighted = 0
    for offset in range(length):
        minute = (start + offset) % 1440
        if minute >= night_from or minute < night_until:
            weighted += 3
        else:
            weighted += 2
    return weighted * rate // 120


def next_departure(now: int, departures: list[int], walk: int = 0) -> int:
    """Minutes until the first departure that a walk still reaches, tomorrow's if need be; -1 without any."""
    if not departures:
        return -1
    ready = now + walk
    for departure in sorted(departures):
        if departure >= ready:
            return departure - now
    return min(departures) + 1440 - now


def time_zone_shift(minutes: int, source: int, target: int) -> tuple[int, int]:
    """(minutes, day change) of a local time moved from one offset in hours to another."""
    moved = minutes + (target - source) * 60
    day = 0
    if moved < 0:
        day = -1
    elif moved >= 1440:
        day = 1
    return moved - day * 1440, day


def open_minutes(rules: list[tuple[int, int]], start: int, end: int) -> int:
    """How much of [start, end) lies in the opening hours; rules may pass midnight."""
    total = 0
    for opens, closes in rules:
        parts = [(opens, closes)] if opens < closes else [(opens, 1440), (0, closes)]
        for low, high in parts:
            shared = min(high, end) - max(low, start)
            if shared > 0:
                total += shared
    return total


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "parse_clock": [
        ("07:30",),
        ("7:30pm",),
        ("12:00am",),
        ("12:05pm",),
        ("23:59",),
        ("24:00",),
        ("10:60",),
        ("0:00",),
        ("11:15am",),
    ],
    "format_clock": [
        (0,),
        (450,),
        (1439,),
        (1440,),
        (0, True),
        (450, True),
        (720, True),
        (719, True),
        (779, True),
        (1500,),
    ],
    "minutes_between": [(10, 20), (20, 10), (5, 5), (1439, 0), (600, 601)],
    "hand_angle": [(0,), (180,), (360,), (15,), (210,), (719,), (900,)],
    "round_to_slot": [(0,), (7,), (8,), (22,), (23,), (1435,), (44, 30), (46, 30), (45, 30)],
    "shift_pay": [
        (540, 1020, 1200),
        (1260, 1380, 1200),
        (1320, 1321, 1200),
        (300, 420, 1000),
        (1380, 60, 600),
        (0, 0, 100),
        (600, 720, 900, 660, 0),
    ],
    "next_departure": [
        (600, []),
        (600, [610, 700]),
        (600, [600]),
        (600, [601, 620], 5),
        (1400, [300, 500]),
        (600, [620], 20),
    ],
    "time_zone_shift": [(600, 0, 2), (1400, 0, 2), (60, 2, 0), (1320, 0, 2), (120, 2, 0), (119, 2, 0), (5, 3, 3)],
    "open_minutes": [
        ([], 0, 60),
        ([(540, 1020)], 600, 660),
        ([(540, 1020)], 500, 560),
        ([(1320, 120)], 0, 1440),
        ([(1320, 120)], 60, 1380),
        ([(60, 120), (180, 240)], 100, 200),
        ([(0, 30)], 30, 60),
    ],
}
