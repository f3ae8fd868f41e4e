"""HTTP: one connection a lane, a deadline on the whole attempt, answers streamed. The only package that knows httpx.

Generation requests bear the key and are never redirected; downloads bear nothing and go only where a guard lets them.
"""

from batchbanana.transport.client import LONGEST_CONNECT
from batchbanana.transport.download import Downloads
from batchbanana.transport.endpoint import GOOGLE, Endpoint, is_google
from batchbanana.transport.exchange import Answer, End, Sink
from batchbanana.transport.guard import Guard, RefusedError
from batchbanana.transport.lane import Lane, Lanes
from batchbanana.transport.patience import PROGRESS, Patience
from batchbanana.transport.secret import Secret

__all__ = [
    "GOOGLE",
    "LONGEST_CONNECT",
    "PROGRESS",
    "Answer",
    "Downloads",
    "End",
    "Endpoint",
    "Guard",
    "Lane",
    "Lanes",
    "Patience",
    "RefusedError",
    "Secret",
    "Sink",
    "is_google",
]
