"""Conversions and measures of the sandbox's toolbox."""


def celsius_to_fahrenheit(celsius: float) -> float:
    """The temperature in degrees Fahrenheit, to a tenth."""
    return round(celsius * 9 / 5 + 32, 1)


def seconds_to_text(seconds: int) -> str:
    """A duration such as 1h02m03s; leading zero parts are left out."""
    hours = seconds // 3600
    minutes = seconds % 3600 // 60
    rest = seconds % 60
    if hours > 0:
        return f"{hours}h{minutes:02d}m{rest:02d}s"
    if minutes > 0:
        return f"{minutes}m{rest:02d}s"
    return f"{rest}s"


def bytes_to_text(size: int, step: int = 1024) -> str:
    """A size with the largest unit that keeps it at 1 or more."""
    names = ["B", "KB", "MB", "GB"]
    level = 0
    value = float(size)
    while value >= step and level < len(names) - 1:
        value /= step
        level += 1
    return f"{value:.1f} {names[level]}" if level > 0 else f"{size} B"


def feet_and_inches(centimetres: float) -> tuple[int, int]:
    """The nearest whole inches, as feet and inches."""
    inches = int(centimetres / 2.54 + 0.5)
    return inches // 12, inches % 12


def body_mass_class(kilograms: float, metres: float) -> str:
    """The usual class of a body mass index."""
    if metres <= 0 or kilograms <= 0:
        raise ValueError("weight and height must be positive")
    index = kilograms / (metres * metres)
    if index < 18.5:
        return "under"
    if index < 25:
        return "normal"
    if index < 30:
        return "over"
    return "obese"


def fuel_needed(distance: float, per_hundred: float, reserve: float = 5.0) -> float:
    """Litres for a distance in km, with a reserve on top of any real trip."""
    if distance <= 0:
        return 0.0
    return round(distance * per_hundred / 100 + reserve, 2)


def roman_numeral(value: int) -> str:
    """A number from 1 to 3999 in Roman numerals."""
    if value < 1 or value > 3999:
        raise ValueError("out of range")
    table = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ]
    letters = ""
    for size, letter in table:
        while value >= size and len(letters) < 20:
            letters += letter
            value -= size
    return letters


def wind_chill(celsius: float, wind: float) -> float:
    """The felt temperature: each 10 km/h above 5 takes a degree off, below 10 degrees only."""
    if celsius > 10 or wind < 5:
        return celsius
    steps = int((wind - 5) / 10)
    felt = celsius - steps
    return max(felt, -60.0)


def battery_minutes(charge: int, drain: list[int], reserve: int = 5) -> int:
    """Whole minutes until a charge, drained by a repeating pattern, would fall below the reserve."""
    if not drain or min(drain) <= 0:
        raise ValueError("the drain must be positive")
    minutes = 0
    while charge - drain[minutes % len(drain)] >= reserve:
        charge -= drain[minutes % len(drain)]
        minutes += 1
    return minutes


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "celsius_to_fahrenheit": [(0,), (100,), (-40,), (37.5,), (21,)],
    "seconds_to_text": [(0,), (59,), (60,), (61,), (3599,), (3600,), (3723,), (86400,)],
    "bytes_to_text": [(0,), (1023,), (1024,), (1536,), (1048576,), (5 * 1024**4,), (2500, 1000), (999, 1000)],
    "feet_and_inches": [(0,), (2.54,), (180,), (30.48,), (152.4,), (1.27,), (1.2,)],
    "body_mass_class": [(74, 2), (73.9, 2), (100, 2), (99, 2), (120, 2), (119, 2), (0, 2), (70, 0), (50, 1.75)],
    "fuel_needed": [(100, 6), (0, 6), (-5, 6), (250, 7.2), (50, 8, 0), (1, 10)],
    "roman_numeral": [(1,), (4,), (9,), (14,), (40,), (90,), (400,), (1994,), (3999,), (0,), (4000,), (2026,), (888,)],
    "wind_chill": [(15, 50), (10, 15), (10, 4), (0, 25), (-59, 80), (5, 5), (5, 14), (-10, 35)],
    "battery_minutes": [
        (20, [5]),
        (21, [5, 1]),
        (5, [1]),
        (6, [1]),
        (50, [7, 3, 2]),
        (10, []),
        (10, [0]),
        (30, [4], 10),
    ],
}
