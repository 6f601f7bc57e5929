"""Sending: what lies in the spool goes to the broker, in order, until it is acknowledged.

Owns: the sending thread, what is in flight, trying again.
Does not own: the client (link.py), what goes into the spool (recorder.py).
Law: a batch leaves the spool only after its acknowledgement; a partition's batches are sent in
the order of their ids; after any failure the unacknowledged ones are sent again, the same bytes.
"""

from contextlib import suppress
from threading import Event, Thread

from pipeline.agents.board import Board
from pipeline.agents.failures import SpoolFailed, WrongTopic
from pipeline.agents.link import BrokerAway, Connect, Link
from pipeline.agents.spool import Spool, Spooled
from pipeline.core.errors import ServerFailed, TaleaError

_IN_FLIGHT_BYTES = 8 << 20
_READ_BATCHES = 16
_FORGET_BATCHES = 64
_CONTACT_WAIT_S = (0.25, 4.0)
"""How long the first try waits for an answer, and the longest: each waits twice the last."""
_POLL_WAIT_S = 0.02
_TROUBLED_WAIT_S = 0.2
_IDLE_WAIT_S = 0.5
_RETRY_WAIT_S = 0.5


class Sender:
    """The thread between one spool and one topic."""

    def __init__(
        self,
        spool: Spool,
        connect: Connect,
        board: Board,
        *,
        topic: str,
        partitions: int,
    ) -> None:
        """Make the first link."""
        self._spool = spool
        self._connect = connect
        self._link: Link = connect()
        self._topic = topic
        self._partitions = partitions
        self._board = board
        self._wake = Event()
        self._stopping = False
        self._thread = Thread(target=self._run, name="talea sender", daemon=True)
        self._contact_wait_s = _CONTACT_WAIT_S[0]
        self._sent_to = 0
        self._in_flight_bytes = 0
        self._acked: list[Spooled] = []

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """Say that the spool has more."""
        self._wake.set()

    def stop(self, wait_s: float) -> None:
        """End the thread and the link; what is not acknowledged stays in the spool.

        A thread that waits for an answer past `wait_s` is left to end by itself.
        """
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def abandon(self) -> None:
        """Leave the link as it is, in a forked child."""
        self._link.abandon()

    def _run(self) -> None:
        while not self._stopping and self._board.refusal is None:
            try:
                self._check()
                while not self._stopping:
                    self._step()
            except (BrokerAway, SpoolFailed) as error:
                self._note(str(error))
                self._again(isinstance(error, BrokerAway) and self._board.in_contact)
            except TaleaError as error:
                self._refuse(error)
            except Exception as error:
                self._refuse(ServerFailed(f"sending ended by a fault of its own: {error!r}"))
                raise
        self._link.close()
        with suppress(SpoolFailed):
            self._forget()

    def _check(self) -> None:
        """First contact of a link: the topic must have the partitions we pack for."""
        if self._board.in_contact:
            return
        wait_s = self._contact_wait_s
        self._contact_wait_s = min(2 * wait_s, _CONTACT_WAIT_S[1])
        found = self._link.partitions(wait_s)
        self._contact_wait_s = _CONTACT_WAIT_S[0]
        if found != self._partitions:
            raise WrongTopic(
                f"topic {self._topic} has {found} partitions, not {self._partitions}: open with"
                f" partitions={found} and another spool (what {self._spool.path} holds is packed"
                " for the wrong count: record it again)"
            )
        with self._board.lock:
            self._board.in_contact = True
            self._board.trouble = ""
            self._board.tell()

    def _step(self) -> None:
        """Send what there is room for, take acknowledgements, delete what has enough of them."""
        self._wake.clear()
        if self._stopping:
            return
        more = self._send_some()
        if not self._in_flight_bytes and not more:
            self._forget()
            self._wake.wait(_IDLE_WAIT_S)
        wait_s = _TROUBLED_WAIT_S if self._board.trouble else _POLL_WAIT_S
        for batch in self._link.poll(wait_s if self._in_flight_bytes else 0):
            self._in_flight_bytes -= len(batch.message)
            self._acked.append(batch)
        if len(self._acked) >= _FORGET_BATCHES or not self._in_flight_bytes:
            self._forget()
        self._note(self._link.trouble())

    def _send_some(self) -> bool:
        """Return whether the spool has more than was sent."""
        if self._in_flight_bytes >= _IN_FLIGHT_BYTES:
            return True
        batches = self._spool.after(self._sent_to, _READ_BATCHES)
        for batch in batches:
            if not self._link.send(batch):
                return True
            self._sent_to = batch.id
            self._in_flight_bytes += len(batch.message)
        return len(batches) == _READ_BATCHES

    def _forget(self) -> None:
        if self._acked:
            self._spool.forget(self._acked)
            self._acked = []
            with self._board.lock:
                self._board.moves += 1
                self._board.tell()

    def _forget_at_last(self) -> None:
        """Delete what was acknowledged, however long the disk refuses: it must not go twice."""
        while self._acked and not self._stopping:
            try:
                self._forget()
            except SpoolFailed as error:
                self._note(str(error))
                self._wake.wait(_RETRY_WAIT_S)
                self._wake.clear()

    def _again(self, link_lost: bool) -> None:
        """Wait a little; after a lost link start over from the oldest batch in the spool."""
        if link_lost:
            self._forget_at_last()
            self._link.close()
            self._link = self._connect()
            self._board.in_contact = False
            self._in_flight_bytes = 0
            self._sent_to = 0
        self._wake.wait(_RETRY_WAIT_S)
        self._wake.clear()

    def _refuse(self, error: TaleaError) -> None:
        with self._board.lock:
            self._board.refusal = error
            self._board.tight = True
            self._board.tell()

    def _note(self, trouble: str) -> None:
        if trouble != self._board.trouble:
            with self._board.lock:
                self._board.trouble = trouble
                self._board.tell()
