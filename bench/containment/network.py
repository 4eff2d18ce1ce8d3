"""A network for runs on which nothing answers that listens on this machine: by pasta, where it is installed and works.

Pasta (https://passt.top; its man page has the options that are used) gives a network namespace this machine's way out
by sockets of an ordinary process. ``own_network`` is the program that starts it.
"""

import re
import socket
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from shutil import which
from typing import Literal, TypeAlias

from bench.containment import own_network
from bench.containment.fast_python import fast_module, fast_python
from bench.containment.trial_command import what_goes_wrong

NetworkMode: TypeAlias = Literal["on", "off", "loopback-blocked"]
"""What runs in namespaces reach: this machine's network; none; all of it but what listens on this machine itself."""
RESOLVER = Path("/etc/resolv.conf")
FORWARDER = "169.254.1.1"
"""Where runs find the resolver of this machine that listens on this machine itself."""
CURE = "install passt (apt-get install passt, dnf install passt), or use --network off"
_TRY = """
import socket, sys
port, *addresses = sys.argv[1:]
for address in addresses:
    if socket.socket().connect_ex((address, int(port))) == 0:
        sys.exit(f"{address} of this machine still answers")
if not any(line.split()[1] == "00000000" for line in open("/proc/net/route")):
    sys.exit("there is no way out")
"""


def find_pasta(bubblewrap: Path, alone: tuple[str, ...]) -> Path | None:
    """A pasta that works here, with a bubblewrap and its options for a run; tried once per process."""
    found = which("pasta")
    return None if found is None or _problem(found, bubblewrap, alone) is not None else Path(found)


def why_no_pasta(bubblewrap: Path, alone: tuple[str, ...]) -> str:
    """Why none works here, and what to do."""
    found = which("pasta")
    return f"{'pasta is not installed' if found is None else f'{found}: {_problem(found, bubblewrap, alone)}'}: {CURE}"


def with_own_network(pasta: Path, bubblewrap: list[str]) -> list[str]:
    """The command line of a bubblewrap, as one with a network of its own."""
    resolver = FORWARDER if asks_this_machine(RESOLVER.read_text()) else "none"
    return [*fast_module(own_network), str(pasta), ",".join(own_addresses(_routes())), resolver, *bubblewrap]


def own_addresses(fib_trie: str) -> list[str]:
    """This machine's own addresses, without its loopback, from /proc/net/fib_trie."""
    found = re.findall(r"\|-- (\S+)\n +/32 host LOCAL", fib_trie)
    return [address for address in dict.fromkeys(found) if not IPv4Address(address).is_loopback]


def asks_this_machine(resolv_conf: str) -> bool:
    """Whether names are looked up by a program on this machine, by resolv.conf(5); it is asked where none is named."""
    servers = re.findall(r"^\s*nameserver\s+(\S+)", resolv_conf, re.MULTILINE)
    return all(server.startswith("127.") or server == "::1" for server in servers)


def _routes() -> str:
    return Path("/proc/net/fib_trie").read_text()


@cache
def _problem(pasta: str, bubblewrap: Path, alone: tuple[str, ...]) -> str | None:
    """What goes wrong when a command looks for this machine from such a network; None when nothing does."""
    addresses = ["127.0.0.1", *own_addresses(_routes())]
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = str(server.getsockname()[1])
        command = [str(bubblewrap), *alone, "--", *fast_python(), "-c", _TRY, port, *addresses]
        return what_goes_wrong(with_own_network(Path(pasta), command))
