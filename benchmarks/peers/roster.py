"""Who is compared."""

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.peers.environments import interpreter


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client.

    Attributes:
        name: as the tables tell it.
        module: below `benchmarks.peers.clients`.
        requirements: what its environment holds; none is our own.
        python: of that environment; known once it is made.
        is_floor: it only shows what cannot be undercut, and takes no part where things go wrong.
        is_slow: it makes fewer of the large images, since it takes so long with them.
    """

    name: str
    module: str
    requirements: tuple[str, ...] = ()
    python: Path = Path()
    is_floor: bool = False
    is_slow: bool = False

    def installed(self, folder: Path) -> "Client":
        """Give this client with its environment made.

        Raises:
            UnavailableError: it cannot be installed.
        """
        return replace(self, python=interpreter(self.module, self.requirements, folder))


CLIENTS = (
    Client(name="bare sockets", module="sockets", is_floor=True),
    Client(name="usual script", module="usual", is_slow=True),
    Client(
        name="async-batch-llm 0.28.0",
        module="batch_llm",
        requirements=("async-batch-llm==0.28.0", "httpx==0.28.1", "pybase64==1.5.1"),
    ),
    # 0.9.7 asks for a release of certifi that the package index of the measured machine did not have.
    Client(name="data-designer 0.9.6", module="designer", requirements=("data-designer==0.9.6",), is_slow=True),
    Client(name="batchbanana", module="own"),
)
