"""Embedded servers: real Kafka, PostgreSQL and Redis as child processes, from packages alone.

Owns: fetching, starting, watching, restarting and stopping them; the home folder and its lock.
Does not own: what is stored in them (stores), topic names (topology), settings.
"""

from pipeline.embedded.failure import ServerFailure
from pipeline.embedded.home import Home, Servers
from pipeline.embedded.servers import EmbeddedServers

__all__ = ["EmbeddedServers", "Home", "ServerFailure", "Servers"]
