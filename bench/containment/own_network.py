"""The program that starts bubblewrap with a network namespace of its own, and has pasta connect that to the world.

Called with ``PASTA ADDRESSES RESOLVER BUBBLEWRAP ARGUMENTS...``. ADDRESSES are this machine's own IPv4 addresses
between commas: pasta's connections are made from here, so they would reach these. RESOLVER is where a resolver on this
machine is to be found there, or "none". This program becomes bubblewrap, so that nothing stands between that and who
watches it; a child of it does the rest, and ends pasta with the run. Needs nothing but the standard library.
"""

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import time

NS_GET_USERNS, PR_SET_DUMPABLE = 0xB701, 4
SIOCADDRT = 0x890B
RTF_UP, RTF_HOST, RTF_REJECT = 0x1, 0x4, 0x200
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PATIENCE_S = 10.0
"""How long pasta may take until the network is there: 10 ms are usual."""
OPTIONS = (
    *("--foreground", "--config-net", "--ipv4-only", "--quiet", "--log-file", os.devnull),
    # Neither this machine's loopback, by the gateway's address or by port, nor ports of the run's here.
    *("--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none"),
)


def main(arguments: list[str]) -> None:
    """Become bubblewrap, whose command begins when its network is there; never returns."""
    pasta, addresses, resolver, bubblewrap, *rest = arguments
    command = [pasta, *OPTIONS, *(["--dns-forward", resolver] if resolver != "none" else [])]
    # Ignored by Python, and so they would be by pasta and the run.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    info_read, info_write = os.pipe()
    begin_read, begin_write = os.pipe()
    bubblewraps = os.getpid()
    if os.fork() == 0:
        os.close(info_write)
        os.close(begin_read)
        first = first_process(info_read)
        run = os.pidfd_open(first)
        process = None
        try:
            process = connect(command, list(filter(None, addresses.split(","))), first)
        except OSError as error:
            os.write(2, f"the run has no network: {error}\n".encode())
        finally:
            # Our end, or that of our end of the pipe, lets the run begin; bubblewrap's it has not seen yet.
            if process is None or os.getppid() != bubblewraps:
                os.kill(first, signal.SIGKILL)
        if process is None:
            os._exit(1)
        os.close(begin_write)
        select.select([run], [], [])
        os.kill(process, signal.SIGKILL)
        os._exit(0)
    for descriptor in (info_write, begin_read):
        os.set_inheritable(descriptor, True)
    options = ["--unshare-net", "--info-fd", str(info_write), "--block-fd", str(begin_read)]
    os.execv(bubblewrap, [bubblewrap, *options, *rest])


def first_process(info: int) -> int:
    """The first process in bubblewrap's namespaces, which it names at ``info``."""
    text = b""
    while not text.rstrip().endswith(b"}"):
        if not (chunk := os.read(info, 4096)):
            # It has ended, and said why.
            os._exit(0)
        text += chunk
    return int(json.loads(text)["child-pid"])


def connect(pasta: list[str], addresses: list[str], first: int) -> int:
    """Give the network namespace of a process a way out, but for the addresses; returns the process of pasta.

    OSError when that is refused.
    """
    network_path = f"/proc/{first}/ns/net"
    network = os.open(network_path, os.O_RDONLY)
    # Not that of the process: bubblewrap may have made another one since.
    owner = fcntl.ioctl(network, NS_GET_USERNS)
    ready_read, ready_write = os.pipe()
    ourselves = os.getpid()
    process = os.fork()
    if process == 0:
        os.read(ready_read, 1)
        run_as = ["--runas", "0:0"] if os.geteuid() == 0 else []
        places = ["--userns", f"/proc/{ourselves}/ns/user", "--netns", network_path]
        try:
            os.execv(pasta[0], [*pasta, *run_as, *places])
        finally:
            os._exit(127)
    _enter(owner, CLONE_NEWUSER)
    # So that pasta may find the user namespace in /proc: who enters one is hidden there.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    _enter(network, CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for address in addresses:
            fcntl.ioctl(any_socket, SIOCADDRT, rejecting_route(address))
    os.write(ready_write, b"x")
    patience_ends = time.monotonic() + PATIENCE_S
    while not has_way_out():
        if os.waitpid(process, os.WNOHANG)[0] or time.monotonic() > patience_ends:
            raise OSError("pasta did not connect it")
        time.sleep(0.005)
    return process


def has_way_out() -> bool:
    """Whether this process's network namespace has a default route."""
    with open("/proc/self/net/route") as file:  # noqa: PTH123 - a program that is to start fast
        return any(line.split()[1] == "00000000" for line in file)


def _enter(namespace: int, kind: int) -> None:
    if ctypes.CDLL(None).setns(namespace, kind):
        raise OSError("bubblewrap's namespaces cannot be entered")


def rejecting_route(address: str) -> bytes:
    """A struct rtentry of <linux/route.h> that has every connection to this address refused."""
    destination, nothing = _address(address), _address("0.0.0.0")
    flags = RTF_UP | RTF_HOST | RTF_REJECT
    return struct.pack("@L16s16s16sHhLPhPLLH6x", 0, destination, nothing, nothing, flags, 0, 0, 0, 0, 0, 0, 0, 0)


def _address(address: str) -> bytes:
    """A struct sockaddr_in."""
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
