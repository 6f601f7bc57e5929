"""A registry in memory that speaks Confluent's interface over HTTP, and can be taken away."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from fastavro import parse_schema

from pipeline.stores.evolution import broken_promises


@dataclass
class FakeRegistry:
    """`fail_with` answers everything with a status; `asked` are the requests that came."""

    texts: dict[int, str] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fail_with: int = 0
    extra: dict[str, object] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: dict[str, str]) -> tuple[int, object]:
        self.asked.append(f"{method} {path}")
        if self.fail_with:
            return self.fail_with, {"message": "not today"}
        match [method, *path.strip("/").split("/")]:
            case ["GET", "schemas", "ids", number] if int(number) in self.texts:
                return 200, {"schema": self.texts[int(number)], **self.extra}
            case ["PUT", "config", _]:
                return 200, body
            case ["POST", "subjects", subject, "versions"]:
                return self.register(unquote(subject), body["schema"])
            case ["GET", "subjects", subject, "versions", "latest"]:
                if known := self.subjects.get(unquote(subject)):
                    return 200, {"schema": self.texts[known[-1]]}
        return 404, {"error_code": 40403, "message": "not found"}

    def register(self, subject: str, text: str) -> tuple[int, object]:
        known = self.subjects.setdefault(subject, [])
        parsed = parse_schema(json.loads(text), named_schemas={})
        for number in known:
            older = parse_schema(json.loads(self.texts[number]), named_schemas={})
            if older == parsed:
                return 200, {"id": number}
            if broken_promises(older, parsed):
                return 409, {"error_code": 409, "message": "incompatible"}
        number = len(self.texts) + 1
        self.texts[number] = text
        known.append(number)
        return 200, {"id": number}


@contextmanager
def serving(registry: FakeRegistry, port: int = 0) -> Iterator[str]:
    """Serve it on a port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            status, answer = registry.answer(self.command, self.path, body)
            told = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_PUT = do_POST = _serve

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
