"""Queues, retries and rotas, of the sandbox's toolbox."""


def retry_delays(attempts: int, base: int = 2, cap: int = 60) -> list[int]:
    """Waiting times that double up to a cap."""
    delays = []
    delay = base
    for _ in range(attempts):
        delays.append(min(delay, cap))
        delay *= 2
    return delays


def round_robin(people: list[str], tasks: int, start: int = 0) -> list[str]:
    """Who takes each task, in turn."""
    if not people:
        return []
    return [people[(start + task) % len(people)] for task in range(tasks)]


def waiting_times(arrivals: list[int], service: int) -> list[int]:
    """How long each arrival waits at a single counter; arrivals are in order."""
    waits = []
    free_at = 0
    for arrival in arrivals:
        begins = max(arrival, free_at)
        waits.append(begins - arrival)
        free_at = begins + service
    return waits


def balance_load(tasks: list[int], workers: int) -> list[int]:
    """The load of each worker when the longest task always goes to the least busy one."""
    if workers < 1:
        raise ValueError("no workers")
    loads = [0] * workers
    for task in sorted(tasks, reverse=True):
        target = 0
        for worker in range(1, workers):
            if loads[worker] < loads[target]:
                target = worker
        loads[target] += task
    return loads


def late_jobs(jobs: list[tuple[int, int]]) -> int:
    """How many (length, deadline) jobs end late when the earliest deadline goes first."""
    now = 0
    late = 0
    for length, deadline in sorted(jobs, key=lambda job: (job[1], job[0])):
        now += length
        if now > deadline:
            late += 1
    return late


def allow_requests(times: list[int], limit: int, window: int) -> list[bool]:
    """Which requests a sliding-window limit lets through; only those let through count."""
    passed: list[int] = []
    answers = []
    for time in times:
        recent = [other for other in passed if other > time - window]
        if len(recent) < limit:
            passed.append(time)
            answers.append(True)
        else:
            answers.append(False)
    return answers


def token_bucket(costs: list[int], capacity: int, refill: int = 1) -> list[bool]:
    """Which requests a bucket pays for, one a tick; it starts full and refills before each tick but the first."""
    level = capacity
    answers = []
    for tick, cost in enumerate(costs):
        if tick > 0:
            level = min(level + refill, capacity)
        if cost <= level:
            level -= cost
            answers.append(True)
        else:
            answers.append(False)
    return answers


def priority_order(jobs: list[tuple[str, int, int]], now: int, aging: int = 10) -> list[str]:
    """Names of (name, priority, since) jobs, most urgent first; each `aging` ticks of waiting raise one by 1."""
    if aging < 1:
        raise ValueError("aging must be positive")
    scored = []
    for name, priority, since in jobs:
        waited = max(now - since, 0)
        scored.append((-(priority + waited // aging), since, name))
    return [name for _, _, name in sorted(scored)]


def cron_matches(field: str, value: int, low: int = 0, high: int = 59) -> bool:
    """Whether a field such as *, 5, 1-4, */15 or 1,30 of a schedule matches a value."""
    for part in field.split(","):
        step = 1
        if "/" in part:
            part, text = part.split("/")
            step = int(text)
        if part == "*":
            first, last = low, high
        elif "-" in part:
            first, last = int(part.split("-")[0]), int(part.split("-")[1])
        else:
            first = last = int(part)
        if first <= value <= last and (value - first) % step == 0:
            return True
    return False


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "retry_delays": [(0,), (3,), (7,), (3, 5), (3, 50, 60), (2, 90)],
    "round_robin": [([], 3), (["a", "b"], 3), (["a", "b", "c"], 2, 2), (["a"], 0), (["a", "b"], 4, 1)],
    "waiting_times": [([], 5), ([0, 1, 2], 5), ([0, 10], 5), ([3, 4, 20, 21], 6), ([0, 0], 1)],
    "balance_load": [([], 2), ([5, 3, 2], 2), ([4, 4, 4], 3), ([9, 1, 1, 1, 7], 2), ([1], 0), ([6, 2], 1)],
    "late_jobs": [
        ([],),
        ([(2, 2)],),
        ([(2, 1)],),
        ([(3, 5), (2, 2), (4, 8)],),
        ([(1, 9), (5, 5), (5, 10)],),
        ([(2, 4), (2, 4)],),
    ],
    "allow_requests": [
        ([], 1, 5),
        ([0, 1, 2], 2, 5),
        ([0, 4, 5, 6], 1, 5),
        ([0, 5], 1, 5),
        ([1, 2, 3, 8], 2, 4),
        ([0], 0, 5),
    ],
    "token_bucket": [
        ([], 3),
        ([1, 1, 1], 1),
        ([3, 3], 3),
        ([2, 2, 2], 3, 2),
        ([5], 4),
        ([4, 1, 1, 3], 4, 1),
        ([1, 4, 4], 4, 9),
    ],
    "priority_order": [
        ([], 5),
        ([("a", 1, 0), ("b", 2, 0)], 0),
        ([("a", 1, 0), ("b", 2, 30)], 30),
        ([("a", 1, 5), ("b", 1, 3)], 9),
        ([("a", 1, 50), ("b", 0, 0)], 10),
        ([("a", 3, 0)], 1, 0),
        ([("a", 5, 7), ("b", 6, 8), ("c", 5, 0)], 12, 4),
    ],
    "cron_matches": [
        ("*", 5),
        ("5", 5),
        ("5", 6),
        ("1-4", 4),
        ("1-4", 5),
        ("1-4", 1),
        ("*/15", 30),
        ("*/15", 31),
        ("1,30", 30),
        ("10-20/5", 15),
        ("10-20/5", 16),
        ("*", 60),
        ("*/2", 3, 1, 12),
    ],
}
