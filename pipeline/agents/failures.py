"""What an agent raises: always one line with what, where and how to mend it.

Owns: the agents' exceptions.  Does not own: rejection codes (core/errors.py).

    TaleaError
     ├── BadInput (exit 2)
     │    ├── RefusedUsage   a field of an event; carries the Rejection; a ValueError too
     │    ├── SpoolBusy      another Recorder has the spool open, or it holds usage for another log
     │    ├── WrongTopic     the topic has another number of partitions
     │    └── NotRecording   closed, or opened before a fork
     └── ServerFailed (exit 3)
          ├── SpoolFull      the spool's limit is reached; the event was not taken
          ├── SpoolFailed    the disk or the file failed; the event was not taken
          └── NotDelivered   not all is acknowledged yet; it stays in the spool
"""

from pipeline.core.errors import BadInput, Rejection, ServerFailed


class RefusedUsage(BadInput, ValueError):
    """An event that must not be sent; `rejection` names the field."""

    def __init__(self, rejection: Rejection) -> None:
        """Say which field, and what is wrong with it."""
        path, message = rejection.path, rejection.message
        super().__init__(message if message.startswith(path) else f"{path}: {message}")
        self.rejection = rejection


class SpoolBusy(BadInput):
    """The spool cannot be opened for this use."""


class WrongTopic(BadInput):
    """The topic is not the one the events were packed for."""


class NotRecording(BadInput):
    """The Recorder takes no more events."""


class SpoolFull(ServerFailed):
    """The spool has reached its limit; the event was not taken."""


class SpoolFailed(ServerFailed):
    """The spool could not be read or written."""


class NotDelivered(ServerFailed):
    """Not everything was acknowledged in time; what was not stays in the spool."""
