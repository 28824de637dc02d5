"""Free memory."""

import resource
import sys
from pathlib import Path


def free_memory() -> int:
    """Return how many bytes this process can still allocate: on the machine, or below its address space limit.

    Without /proc (that is, outside Linux) this is unknown: the result is `sys.maxsize`.
    """
    if not Path("/proc/meminfo").exists():
        return sys.maxsize
    machine = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(machine["MemAvailable"].split()[0]) * 1024
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return available
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return max(0, min(available, limit - used))
