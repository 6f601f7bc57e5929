"""`talea` over a tenant's servers, as a person would call it."""

import os
import subprocess
import sys

from integration.running import RunningStack
from pipeline.workers.supervisor import worker_environment


def talea(
    stack: RunningStack, *arguments: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return talea_within(100, stack, *arguments, given=given, **environment)


def talea_within(
    patience_s: float, stack: RunningStack, *arguments: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """For what may take long."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    surroundings = {**os.environ, **worker_environment(stack.around), **environment}
    # What Python itself is told in its environment, a process that is forked would never hear.
    if stack.nursery and not any(name.startswith("PYTHON") for name in environment):
        return stack.nursery.run(command, surroundings, given, patience_s)
    return subprocess.run(
        command,
        env=surroundings,
        input=given,
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )
