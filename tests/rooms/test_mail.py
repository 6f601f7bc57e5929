"""Notices are files first; whoever names a mail server has each sent, once."""

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from pipeline.core.errors import BadInput, ServerFailed
from pipeline.replay.post_mortem import Mail
from pipeline.stores.mail import message_of, send_mails, write_mails

ACME = Mail("customer", "acme", "A correction", "Dear customer,\nüber alles: 1,00 €\n")
ODD = Mail("customer", "../../etc/x", "A correction", "text")
LEGAL = Mail("legal", None, "Incident", "text")


class Box(ThreadingTCPServer):
    """A mail server that keeps what it is sent."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Talk)


class Talk(StreamRequestHandler):
    server: Box

    def handle(self) -> None:
        self.wfile.write(b"220 box\r\n")
        while told := self.rfile.readline():
            verb = told[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.taken.append(b"".join(lines))
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 fine\r\n")
            if verb == b"QUIT":
                return


@contextmanager
def box() -> Iterator[Box]:
    with Box() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def written(folder: Path) -> dict[Path, object]:
    mails = [(ACME, "ann@acme.test"), (ODD, None), (LEGAL, "legal@shop.test")]
    made = [(mail, message_of(mail, "billing@shop.test", to)) for mail, to in mails]
    return {**write_mails(folder, made)}


def test_a_notice_is_a_file_that_a_mail_program_reads(tmp_path: Path) -> None:
    files = written(tmp_path / "notices")

    assert sorted(path.relative_to(tmp_path).as_posix() for path in files) == [
        "notices/customer-%2e%2e%2f%2e%2e%2fetc%2fx.eml",
        "notices/customer-acme.eml",
        "notices/legal.eml",
    ]
    read = message_from_bytes(
        (tmp_path / "notices/customer-acme.eml").read_bytes(), policy=policy.default
    )
    assert (read["To"], read["From"]) == ("ann@acme.test", "billing@shop.test")
    assert read.get_content().splitlines() == ACME.text.splitlines()


def test_what_has_an_address_is_sent_once(tmp_path: Path) -> None:
    with box() as server:
        address = f"127.0.0.1:{server.server_address[1]}"
        for _ in range(2):
            mails = [
                (mail, message_of(mail, "billing@shop.test", to))
                for mail, to in ((ACME, "ann@acme.test"), (ODD, None))
            ]
            send_mails(address, write_mails(tmp_path, mails))

    assert len(server.taken) == 1
    assert b"To: ann@acme.test" in server.taken[0]
    assert (tmp_path / "customer-acme.sent.eml").exists()


def test_a_server_that_is_not_there_is_named_and_the_files_stay(tmp_path: Path) -> None:
    message = message_of(ACME, "billing@shop.test", "ann@acme.test")
    mails = write_mails(tmp_path, [(ACME, message)])

    with pytest.raises(ServerFailed, match=r"mail server 127\.0\.0\.1:1: .*the files stay"):
        send_mails("127.0.0.1:1", mails)

    assert (tmp_path / "customer-acme.eml").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BadInput, match="name a folder that can be written"):
        write_mails(tmp_path / "file", [(ACME, message_of(ACME, "a@b.test", None))])
