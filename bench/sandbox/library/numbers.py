"""Whole-number arithmetic of the sandbox's toolbox."""


def clamp(value: int, low: int, high: int) -> int:
    """The value, moved into [low, high]."""
    if value < low:
        return low
    if value > high:
        return high
    return value


def digit_sum(value: int) -> int:
    """The sum of the decimal digits of a non-negative number."""
    total = 0
    while value > 0:
        total += value % 10
        value //= 10
    return total


def greatest_common_divisor(first: int, second: int) -> int:
    """Euclid's algorithm; 0 only when both numbers are 0."""
    while second != 0:
        first, second = second, first % second
    return abs(first)


def is_prime(value: int) -> bool:
    """Whether the value is a prime number."""
    if value < 2:
        return False
    divisor = 2
    while divisor * divisor <= value:
        if value % divisor == 0:
            return False
        divisor += 1
    return True


def prime_factors(value: int) -> list[int]:
    """The prime factors in rising order, with repetitions."""
    factors = []
    divisor = 2
    while divisor * divisor <= value:
        while value % divisor == 0:
            factors.append(divisor)
            value //= divisor
        divisor += 1
    if value > 1:
        factors.append(value)
    return factors


def collatz_length(start: int) -> int:
    """How many steps the 3n+1 rule takes to reach 1."""
    if start < 1:
        raise ValueError("start must be positive")
    steps = 0
    while start != 1 and steps < 500:
        start = start // 2 if start % 2 == 0 else 3 * start + 1
        steps += 1
    return steps


def to_base(value: int, base: int = 2) -> str:
    """The value written in a base from 2 to 16."""
    if base < 2 or base > 16:
        raise ValueError("base must be from 2 to 16")
    if value == 0:
        return "0"
    digits = ""
    rest = abs(value)
    while rest > 0 and len(digits) < 64:
        digits = "0123456789abcdef"[rest % base] + digits
        rest //= base
    return "-" + digits if value < 0 else digits


def integer_root(value: int) -> int:
    """The largest whole number whose square is not above the value, by bisection."""
    if value < 0:
        raise ValueError("value must not be negative")
    low, high = 0, value + 1
    while high - low > 1:
        middle = (low + high) // 2
        if middle * middle <= value:
            low = middle
        else:
            high = middle
    return low


def count_multiples(low: int, high: int, step: int) -> int:
    """How many multiples of step lie in [low, high]."""
    if step <= 0:
        raise ValueError("step must be positive")
    if low > high:
        return 0
    first = low + (step - low % step) % step
    if first > high:
        return 0
    return (high - first) // step + 1


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "clamp": [(5, 1, 9), (0, 1, 9), (12, 1, 9), (1, 1, 9), (9, 1, 9), (-3, -5, -1)],
    "digit_sum": [(0,), (7,), (10,), (1999,), (305,), (80011,)],
    "greatest_common_divisor": [(12, 18), (7, 3), (0, 5), (5, 0), (-8, 12), (100, 75)],
    "is_prime": [(0,), (1,), (2,), (3,), (4,), (9,), (25,), (29,), (49,), (97,), (91,)],
    "prime_factors": [(1,), (2,), (4,), (9,), (12,), (97,), (360,), (49,), (1001,)],
    "collatz_length": [(1,), (2,), (3,), (6,), (7,), (27,), (0,)],
    "to_base": [(10,), (0,), (255, 16), (-5,), (7, 3), (5, 1), (5, 17), (31, 16), (16, 16)],
    "integer_root": [(0,), (1,), (2,), (3,), (4,), (15,), (16,), (17,), (99,), (100,), (-1,)],
    "count_multiples": [(1, 10, 3), (3, 9, 3), (4, 5, 3), (5, 4, 1), (0, 0, 7), (-7, 7, 7), (1, 5, 0), (2, 12, 5)],
}
