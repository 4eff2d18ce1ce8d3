"""Scores and ranks of games and searches, of the sandbox's toolbox."""


def bowling_score(rolls: list[int]) -> int:
    """The score of a whole game of bowling."""
    total = 0
    roll = 0
    for _ in range(10):
        if rolls[roll] == 10:
            total += 10 + rolls[roll + 1] + rolls[roll + 2]
            roll += 1
        elif rolls[roll] + rolls[roll + 1] == 10:
            total += 10 + rolls[roll + 2]
            roll += 2
        else:
            total += rolls[roll] + rolls[roll + 1]
            roll += 2
    return total


def elo_change(rating: int, opponent: int, result: int, speed: int = 32) -> int:
    """How a rating moves after a result (2 won, 1 drawn, 0 lost), linear in the difference up to 400."""
    gap = max(-400, min(400, rating - opponent))
    expected = 50 + gap * 45 // 400
    return speed * (result * 50 - expected) // 100


def league_points(goals: list[tuple[int, int]]) -> int:
    """3 for a win, 1 for a draw, over (scored, received) matches."""
    points = 0
    for scored, received in goals:
        if scored > received:
            points += 3
        elif scored == received:
            points += 1
    return points


def hand_rank(cards: list[int]) -> str:
    """What five card values are worth by their repetitions or as a straight."""
    ordered = sorted(cards)
    counts = sorted((ordered.count(card) for card in set(ordered)), reverse=True)
    if counts[0] == 4:
        return "four"
    if counts[0] == 3:
        return "full house" if counts[1] == 2 else "three"
    if counts[0] == 2:
        return "two pairs" if counts[1] == 2 else "pair"
    if ordered[-1] - ordered[0] == 4:
        return "straight"
    return "high card"


def precision_at(results: list[str], wanted: list[str], count: int = 5) -> float:
    """The share of the first results that are wanted."""
    if count < 1:
        raise ValueError("count must be positive")
    hits = sum(1 for result in results[:count] if result in wanted)
    return round(hits / count, 3)


def reciprocal_rank(results: list[str], wanted: list[str]) -> float:
    """1 over the rank of the first wanted result; 0.0 when none is."""
    for position, result in enumerate(results):
        if result in wanted:
            return round(1 / (position + 1), 3)
    return 0.0


def gymnastics_score(marks: list[float], difficulty: float, errors: int = 0) -> float:
    """The mean without the best and worst mark, plus difficulty, minus 0.3 an error, never negative."""
    if len(marks) < 3:
        raise ValueError("three judges at least")
    kept = sorted(marks)[1:-1]
    score = sum(kept) / len(kept) + difficulty - 0.3 * errors
    return round(max(score, 0.0), 2)


def tennis_game(points: str) -> str:
    """The score of a game after points such as "AABA"."""
    names = ["0", "15", "30", "40"]
    first = points.count("A")
    second = points.count("B")
    if first >= 4 and first - second >= 2:
        return "game A"
    if second >= 4 and second - first >= 2:
        return "game B"
    if first >= 3 and second >= 3:
        if first == second:
            return "deuce"
        return "advantage A" if first > second else "advantage B"
    return names[first] + "-" + names[second]


def standings(results: list[tuple[str, str, int, int]]) -> list[tuple[str, int, int]]:
    """(team, points, goal difference) of (home, away, goals, goals) matches, best first, then by name."""
    points: dict[str, int] = {}
    goals: dict[str, int] = {}
    for home, away, scored, received in results:
        for team, difference in ((home, scored - received), (away, received - scored)):
            earned = 3 if difference > 0 else 1 if difference == 0 else 0
            points[team] = points.get(team, 0) + earned
            goals[team] = goals.get(team, 0) + difference
    order = sorted(points, key=lambda team: (-points[team], -goals[team], team))
    return [(team, points[team], goals[team]) for team in order]


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "bowling_score": [
        ([0] * 20,),
        ([10] * 12,),
        ([5] * 21,),
        ([1, 2] * 10,),
        ([10, 3, 4] + [0] * 16,),
        ([6, 4, 5] + [1] * 17,),
    ],
    "elo_change": [
        (1500, 1500, 2),
        (1500, 1500, 1),
        (1500, 1500, 0),
        (1900, 1400, 2),
        (1400, 2400, 2),
        (1600, 1500, 0, 16),
        (1500, 1900, 1),
    ],
    "league_points": [([],), ([(1, 0)],), ([(0, 0), (1, 2)],), ([(3, 1), (2, 2), (0, 4), (1, 0)],)],
    "hand_rank": [
        ([1, 2, 3, 4, 5],),
        ([1, 1, 2, 3, 4],),
        ([1, 1, 2, 2, 3],),
        ([1, 1, 1, 2, 3],),
        ([1, 1, 1, 2, 2],),
        ([9, 9, 9, 9, 2],),
        ([1, 2, 3, 4, 9],),
        ([10, 8, 7, 9, 11],),
    ],
    "precision_at": [
        ([], ["a"]),
        (["a", "b"], ["a"], 2),
        (["a", "b", "c"], ["c"], 2),
        (["a"], ["a"], 0),
        (["a", "b", "c"], ["a", "c"]),
        (["a"], ["a"], 1),
    ],
    "reciprocal_rank": [
        ([], ["a"]),
        (["a"], ["a"]),
        (["b", "a"], ["a"]),
        (["b", "c"], ["a"]),
        (["x", "y", "z", "a"], ["a", "z"]),
    ],
    "gymnastics_score": [
        ([8, 9, 10], 1.0),
        ([8, 9, 7, 10], 0.5, 1),
        ([1, 2], 1),
        ([0, 0, 0], 0, 5),
        ([6.5, 9.5, 8, 7, 9], 2.2, 2),
    ],
    "tennis_game": [
        ("",),
        ("A",),
        ("AAAB",),
        ("AAAA",),
        ("BBBB",),
        ("AAABBB",),
        ("AAABBBA",),
        ("AAABBBB",),
        ("AAABBBAA",),
        ("AAABBBBB",),
        ("AABB",),
        ("AAA",),
        ("BBBAA",),
        ("AABBBB",),
    ],
    "standings": [
        ([],),
        ([("x", "y", 1, 0)],),
        ([("x", "y", 1, 1)],),
        ([("b", "a", 2, 2), ("c", "a", 0, 3), ("b", "c", 4, 0)],),
        ([("q", "p", 1, 0), ("p", "q", 1, 0)],),
        ([("k", "m", 5, 1), ("m", "n", 2, 0), ("n", "k", 1, 0)],),
    ],
}
