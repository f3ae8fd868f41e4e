"""`python -m benchmarks peers`: what others do with the same jobs, each against the same server in the same run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import faults, speed
from benchmarks.peers.environments import UnavailableError
from benchmarks.peers.roster import CLIENTS, Client


def main(words: Sequence[str]) -> int:
    """Compare, and print a table a scenario; gives 1 when a peer was not to be had, after the others have played."""
    names = ["clean", *faults.SCENARIOS, "memory"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="may be repeated; all when left out")
    parser.add_argument("--client", action="append", choices=[client.module for client in CLIENTS], help="likewise")
    parser.add_argument(
        "--environments", type=Path, default=Path("output/peers"), help="where the peers are installed, about 900 MB"
    )
    options = parser.parse_args(words)
    wanted = [client for client in CLIENTS if not options.client or client.module in options.client or client.is_floor]
    clients = _installed(wanted, options.environments.absolute())
    chosen = [name for name in names if not options.only or name in options.only]
    if "clean" in chosen:
        speed.clean(clients)
    faults.compare([name for name in chosen if name in faults.SCENARIOS], clients)
    if "memory" in chosen:
        speed.memory(clients)
    return 0 if len(clients) == len(wanted) else 1


def _installed(wanted: Sequence[Client], folder: Path) -> list[Client]:
    clients = []
    for client in wanted:
        try:
            clients.append(client.installed(folder))
        except UnavailableError as error:
            sys.stderr.write(f"{error}\n")
    return clients
