"""`talea` over a tenant's servers, as a person would call it."""

import os
import subprocess
import sys

from integration.running import RunningStack
from pipeline.workers.supervisor import worker_environment


def talea(
    stack: RunningStack, *arguments: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        env={**os.environ, **worker_environment(stack.around), **environment},
        input=given,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
