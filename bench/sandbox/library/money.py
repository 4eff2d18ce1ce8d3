"""Prices, taxes and loans of the sandbox's toolbox; amounts are whole cents."""


def add_tax(net: int, percent: int = 20) -> int:
    """The gross amount, the tax rounded half up."""
    return net + (net * percent + 50) // 100


def discount(price: int, percent: int, floor: int = 0) -> int:
    """The price after a discount, never below the floor."""
    if percent < 0 or percent > 100:
        raise ValueError("a percentage lies between 0 and 100")
    reduced = price - price * percent // 100
    return max(reduced, floor)


def split_bill(total: int, people: int) -> list[int]:
    """Shares that differ by at most a cent; the first ones carry the rest."""
    if people < 1:
        raise ValueError("nobody pays")
    share = total // people
    rest = total % people
    shares = []
    for person in range(people):
        shares.append(share + 1 if person < rest else share)
    return shares


def change_coins(amount: int) -> dict[int, int]:
    """The fewest coins of 1 to 200 cents that make the amount."""
    coins = {}
    for coin in (200, 100, 50, 20, 10, 5, 2, 1):
        count = amount // coin
        if count > 0:
            coins[coin] = count
            amount -= count * coin
    return coins


def tiered_price(quantity: int, tiers: list[tuple[int, int]], base: int) -> int:
    """The unit price at a quantity; tiers are (from quantity, price), in any order."""
    price = base
    reached = 0
    for start, tier_price in tiers:
        if quantity >= start and start > reached:
            reached = start
            price = tier_price
    return price


def income_tax(income: int, brackets: list[tuple[int, int]]) -> int:
    """Progressive tax; brackets are (lower limit, percent) in rising order."""
    tax = 0
    for position, (lower, percent) in enumerate(brackets):
        if income <= lower:
            break
        upper = brackets[position + 1][0] if position + 1 < len(brackets) else income
        taxed = min(income, upper) - lower
        tax += taxed * percent // 100
    return tax


def loan_schedule(principal: int, percent: int, payment: int) -> list[int]:
    """What is still owed after each yearly payment, until nothing is."""
    if payment <= principal * percent // 100:
        raise ValueError("the payment does not cover the interest")
    balances: list[int] = []
    balance = principal
    while balance > 0 and len(balances) < 100:
        interest = balance * percent // 100
        balance = max(balance + interest - payment, 0)
        balances.append(balance)
    return balances


def format_cents(amount: int, symbol: str = "$") -> str:
    """An amount such as -$1,234.50."""
    sign = "-" if amount < 0 else ""
    whole, cents = divmod(abs(amount), 100)
    groups = ""
    digits = str(whole)
    while len(digits) > 3:
        groups = "," + digits[-3:] + groups
        digits = digits[:-3]
    return sign + symbol + digits + groups + "." + str(cents).zfill(2)


def best_offer(offers: list[tuple[str, int, int]], budget: int) -> str:
    """The name of the best rated (name, price, rating) offer within the budget; the cheaper one of equals."""
    best_name = ""
    best_price = 0
    best_rating = -1
    for name, price, rating in offers:
        if price > budget:
            continue
        if rating > best_rating or (rating == best_rating and price < best_price):
            best_name, best_price, best_rating = name, price, rating
    return best_name


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "add_tax": [(100,), (0,), (999,), (1050, 7), (333, 10), (50, 1), (49, 1)],
    "discount": [(1000, 10), (1000, 0), (999, 50), (1000, 90, 200), (500, 100), (1, -1), (1, 101)],
    "split_bill": [(100, 3), (9, 3), (10, 4), (0, 2), (5, 1), (5, 0), (11, 6)],
    "change_coins": [(0,), (1,), (3,), (388,), (99,), (600,), (45,)],
    "tiered_price": [
        (1, [(10, 90), (100, 80)], 100),
        (10, [(10, 90), (100, 80)], 100),
        (5, [], 7),
        (150, [(100, 80), (10, 90)], 100),
        (99, [(100, 80), (10, 90)], 100),
    ],
    "income_tax": [
        (0, [(0, 10)]),
        (1000, [(0, 10)]),
        (1500, [(0, 10), (1000, 20)]),
        (1000, [(0, 10), (1000, 20)]),
        (5000, [(0, 0), (1000, 20), (3000, 40)]),
        (500, [(1000, 20)]),
        (3100, [(0, 5), (1000, 20), (3000, 40)]),
    ],
    "loan_schedule": [(1000, 10, 600), (1000, 0, 500), (5000, 5, 1500), (100, 10, 10), (300, 10, 400), (900, 20, 300)],
    "format_cents": [(0,), (5,), (123456,), (-123450,), (100, "E"), (99999999,), (100000,), (-7,)],
    "best_offer": [
        ([], 10),
        ([("a", 5, 3)], 4),
        ([("a", 5, 3), ("b", 5, 4)], 5),
        ([("a", 9, 4), ("b", 7, 4)], 9),
        ([("a", 3, 4), ("b", 7, 4)], 9),
        ([("a", 9, 0), ("b", 19, 5)], 10),
    ],
}
