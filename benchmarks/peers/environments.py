"""A virtual environment for each peer, made once and kept; pip's own configuration decides where packages come from."""

import subprocess
import sys
import venv
from hashlib import sha256
from pathlib import Path


class UnavailableError(Exception):
    """A peer cannot be installed here; the message is pip's last word."""


def interpreter(name: str, requirements: tuple[str, ...], folder: Path) -> Path:
    """Give the Python of a peer's environment, which is made if it is not there yet.

    Args:
        name: of the peer.
        requirements: what pip is to install, with versions; without any, it is the Python that runs this.
        folder: where the environments are kept.

    Raises:
        UnavailableError: pip could not install them.
    """
    if not requirements:
        return Path(sys.executable)
    place = folder / f"{name}-{sha256(' '.join(requirements).encode()).hexdigest()[:8]}"
    python, ready = place / "bin" / "python", place / "ready"
    if not ready.exists():
        venv.create(place, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(f"{name} cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        ready.touch()
    return python
