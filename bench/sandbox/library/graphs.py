"""Directed graphs as {node: [next nodes]}, of the sandbox's toolbox."""

Graph = dict[str, list[str]]


def count_edges(graph: Graph) -> int:
    """How many edges there are, loops left out."""
    total = 0
    for node, targets in graph.items():
        for target in targets:
            if target != node:
                total += 1
    return total


def in_degrees(graph: Graph) -> dict[str, int]:
    """How many edges lead to each node."""
    degrees = dict.fromkeys(graph, 0)
    for targets in graph.values():
        for target in targets:
            degrees[target] = degrees.get(target, 0) + 1
    return degrees


def reachable(graph: Graph, start: str, limit: int = 99) -> list[str]:
    """Nodes within a number of steps of the start, in alphabetical order."""
    distance = {start: 0}
    waiting = [start]
    while waiting:
        node = waiting.pop(0)
        if distance[node] >= limit:
            continue
        for target in graph.get(node, []):
            if target not in distance:
                distance[target] = distance[node] + 1
                waiting.append(target)
    return sorted(distance)


def shortest_path(graph: Graph, start: str, goal: str) -> list[str]:
    """The nodes of a path with the fewest edges; empty when there is none."""
    came_from = {start: ""}
    waiting = [start]
    while waiting:
        node = waiting.pop(0)
        if node == goal:
            break
        for target in graph.get(node, []):
            if target not in came_from:
                came_from[target] = node
                waiting.append(target)
    if goal not in came_from:
        return []
    path = [goal]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def topological_order(graph: Graph) -> list[str]:
    """Every node before those it leads to, alphabetical where free; an error on a cycle."""
    missing = dict.fromkeys(graph, 0)
    for targets in graph.values():
        for target in targets:
            missing[target] = missing.get(target, 0) + 1
    ready = sorted(node for node, count in missing.items() if count == 0)
    order = []
    while ready:
        node = ready.pop(0)
        order.append(node)
        for target in graph.get(node, []):
            missing[target] -= 1
            if missing[target] == 0:
                ready.append(target)
                ready.sort()
    if len(order) != len(missing):
        raise ValueError("the graph has a cycle")
    return order


def count_components(nodes: list[str], edges: list[tuple[str, str]]) -> int:
    """How many connected parts an undirected graph has."""
    parent = {node: node for node in nodes}
    parts = len(parent)
    for left, right in edges:
        while parent[left] != left:
            left = parent[left]
        while parent[right] != right:
            right = parent[right]
        if left != right:
            parent[left] = right
            parts -= 1
    return parts


def cheapest_costs(roads: dict[str, dict[str, int]], start: str) -> dict[str, int]:
    """The smallest cost to every node that can be reached (Dijkstra)."""
    costs = {start: 0}
    done: list[str] = []
    while len(done) < len(costs):
        node = min((cost, name) for name, cost in costs.items() if name not in done)[1]
        done.append(node)
        for target, cost in roads.get(node, {}).items():
            total = costs[node] + cost
            if target not in costs or total < costs[target]:
                costs[target] = total
    return costs


def has_cycle(graph: Graph) -> bool:
    """Whether some node can reach itself."""
    for start in graph:
        seen: list[str] = []
        waiting = list(graph[start])
        while waiting:
            node = waiting.pop()
            if node == start:
                return True
            if node not in seen:
                seen.append(node)
                waiting.extend(graph.get(node, []))
    return False


def longest_chain(graph: Graph, costs: dict[str, int], default: int = 1) -> int:
    """The largest sum of costs along a path of a graph without cycles."""
    best: dict[str, int] = {}
    nodes = sorted(graph)
    for _ in range(len(nodes) + 1):
        for node in nodes:
            tail = 0
            for target in graph[node]:
                tail = max(tail, best.get(target, costs.get(target, default)))
            best[node] = costs.get(node, default) + tail
    return max(best.values(), default=0)


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "count_edges": [({},), ({"a": ["b", "a"], "b": []},), ({"a": ["b"], "b": ["a", "c"]},), ({"a": ["a"]},)],
    "in_degrees": [({},), ({"a": ["b"], "b": []},), ({"a": ["b", "c"], "b": ["c"]},), ({"a": ["a"]},)],
    "reachable": [
        ({}, "a"),
        ({"a": ["b"], "b": ["c"]}, "a"),
        ({"a": ["b"], "b": ["c"]}, "a", 1),
        ({"a": ["b"]}, "b"),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e"]}, "a", 2),
        ({"a": ["b"]}, "a", 0),
    ],
    "shortest_path": [
        ({}, "a", "a"),
        ({"a": ["b"]}, "a", "b"),
        ({"a": ["b"]}, "b", "a"),
        ({"a": ["b", "c"], "b": ["d"], "c": ["e"], "d": ["e"]}, "a", "e"),
        ({"a": ["b"], "b": ["a", "c"]}, "a", "c"),
    ],
    "topological_order": [
        ({},),
        ({"b": ["a"]},),
        ({"a": ["c"], "b": ["c"], "c": ["d"]},),
        ({"a": ["b"], "b": ["a"]},),
        ({"z": ["y", "x"], "y": ["w"], "x": ["w"]},),
    ],
    "count_components": [
        ([], []),
        (["a", "b"], []),
        (["a", "b", "c"], [("a", "b")]),
        (["a", "b", "c", "d"], [("a", "b"), ("c", "d"), ("b", "d"), ("a", "c")]),
    ],
    "cheapest_costs": [
        ({}, "a"),
        ({"a": {"b": 4, "c": 1}, "c": {"b": 2}}, "a"),
        ({"a": {"b": 1}, "b": {"a": 1, "c": 5}}, "b"),
        ({"a": {"b": 7, "c": 2}, "c": {"d": 3}, "d": {"b": 1}}, "a"),
    ],
    "has_cycle": [
        ({},),
        ({"a": ["b"], "b": []},),
        ({"a": ["b"], "b": ["a"]},),
        ({"a": ["a"]},),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"]},),
        ({"a": ["b"], "b": ["c"], "c": ["b"]},),
    ],
    "longest_chain": [
        ({}, {}),
        ({"a": []}, {"a": 5}),
        ({"a": ["b"], "b": ["c"], "c": []}, {"b": 4}),
        ({"a": ["b", "c"], "b": [], "c": []}, {"b": 2, "c": 9}),
        ({"a": ["z"]}, {}, 3),
    ],
}
