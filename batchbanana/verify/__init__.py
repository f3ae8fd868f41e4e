"""Whether files and ledger of a job agree, and the mending of what does not.

`finding` decides, `telling` reads lines of `metadata.jsonl`, `looking` reads the disk, `mending` writes.
"""

from batchbanana.verify.finding import Finding, Kind, exit_code
from batchbanana.verify.looking import Looking
from batchbanana.verify.mending import mend

__all__ = ["Finding", "Kind", "Looking", "exit_code", "mend"]
