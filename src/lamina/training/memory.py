"""How much memory is left."""

import resource
import sys
from pathlib import Path


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, or of the limit on its addresses where that is less.

    Where the system does not tell (it is no Linux), as good as endless.
    """
    if not Path("/proc/meminfo").exists():
        return sys.maxsize
    machine = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(machine["MemAvailable"].split()[0]) * 1024
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return available
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return max(0, min(available, limit - taken))
