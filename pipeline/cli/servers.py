"""`talea servers`: fetch the embedded servers ahead of time, so that starting them is quick."""

from pipeline.cli.screen import steps
from pipeline.embedded import EmbeddedServers
from pipeline.settings import read_settings


def servers() -> None:
    """Download what the embedded servers need, once per user."""
    with steps("talea") as tell:
        EmbeddedServers(read_settings().home).download(tell)
