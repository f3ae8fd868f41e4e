"""How long until the program is there at all, and what does it import on the way?

Against importing `google-genai`, the vendor's own library, which is what a script would begin with.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.measuring import CLIENT_CORE, on_core, table, verdict
from benchmarks.peers.environments import UnavailableError, interpreter

TIMES = 7
BOUND = 0.25  # times the vendor's import
VENDOR = ("google-genai==3.4.0",)
HEAVY = ("pydantic", "PIL", "pyarrow", "httpx", "anyio", "yaml", "sqlite3", "tqdm")
ENVIRONMENTS = Path("output/peers")
LOOK = "import sys; from batchbanana.cli import main; sys.argv[1:] = ['--version']; main(); print(*sys.modules)"


def _seconds(command: Sequence[str]) -> float:
    with on_core(CLIENT_CORE):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
        return time.perf_counter() - began


def main() -> None:
    """Print the medians, taken in turns."""
    python = sys.executable
    commands = {
        "python alone": [python, "-c", ""],
        "batchbanana --version": [python, "-m", "batchbanana", "--version"],
        "batchbanana --help": [python, "-m", "batchbanana", "--help"],
    }
    try:
        vendor = str(interpreter("genai", VENDOR, ENVIRONMENTS.absolute()))
        commands["import google.genai"] = [vendor, "-c", "import google.genai"]
    except UnavailableError as error:
        print(error)
    for command in commands.values():
        _seconds(command)  # bytecode is written now
    rounds = [{name: _seconds(command) for name, command in commands.items()} for _ in range(TIMES)]
    found = {name: median(each[name] for each in rounds) for name in commands}
    base = found.get("import google.genai")
    rows = []
    for name, seconds in found.items():
        share = verdict(seconds / base, BOUND, " x") if base and name.startswith("batch") else ""
        rows.append([name, f"{seconds:.3f}", share])
    table(f"start-up, median of {TIMES}", ["command", "seconds", "to importing google.genai"], rows)
    loaded = subprocess.run([python, "-c", LOOK], check=True, capture_output=True, text=True).stdout.split()
    heavy = [name for name in HEAVY if name in loaded]
    print(f"\nheavy imports on the way to --version: {', '.join(heavy) or 'none'}")
