"""Mail: notices as files that any mail program reads, and sent where somebody names a server.

Owns: the form of a message, SMTP.  Does not own: what is said (replay/post_mortem.py).
"""

import smtplib
from collections.abc import Iterable, Mapping
from email.message import EmailMessage
from email.policy import SMTP as LINES
from email.utils import formatdate, make_msgid
from pathlib import Path

from pipeline.core.errors import BadInput, ServerFailed
from pipeline.replay.post_mortem import Mail

_WAIT_S = 30.0


def message_of(mail: Mail, sender: str, to: str | None) -> EmailMessage:
    """Return a notice as a message; without an address it has none, and is not to be sent."""
    message = EmailMessage(policy=LINES)
    message["Subject"] = mail.subject
    message["From"] = sender
    if to is not None:
        message["To"] = to
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid("talea", "talea.invalid")
    message.set_content(mail.text)
    return message


def write_mails(
    folder: Path, mails: Iterable[tuple[Mail, EmailMessage]]
) -> dict[Path, EmailMessage]:
    """Write messages; return those that are not sent yet, by file.

    Raises:
        BadInput: the folder cannot be written.

    """
    found: dict[Path, EmailMessage] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for mail, message in mails:
            name = mail.audience if mail.about is None else f"{mail.audience}-{mail.about}"
            path = folder / f"{_file_name(name)}.eml"
            if not _sent(path).exists():
                path.write_bytes(message.as_bytes())
                found[path] = message
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror}: name a folder that can be written") from None
    return found


def _file_name(name: str) -> str:
    """Return a name that is no path: what could be one is written as its code."""
    return "".join(c if c.isalnum() or c in "-_" else f"%{ord(c):x}" for c in name)


def _sent(path: Path) -> Path:
    return path.with_suffix(".sent.eml")


def send_mails(server: str, mails: Mapping[Path, EmailMessage]) -> list[Path]:
    """Send messages that have an address, each once; return their files, renamed.

    Raises:
        ServerFailed: the server does not take one; those before it are sent.

    """
    host, _, port = server.partition(":")
    done = []
    try:
        with smtplib.SMTP(host, int(port or 25), timeout=_WAIT_S) as client:
            for path, message in mails.items():
                if "To" in message:
                    client.send_message(message)
                    done.append(path.rename(_sent(path)))
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise ServerFailed(f"mail server {server}: {error}: the files stay, try again") from None
    return done
