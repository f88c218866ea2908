"""The pages of a catalogue for a browser on this machine, and for nobody else.

The server listens on the loopback address alone. That is no wall between the users of a machine, nor between a page in
a browser and the ports behind it, so every address begins with a token that cannot be guessed, and a request that was
not meant for this address is refused: a name that somebody points at the loopback address is no way in.
"""

import hmac
import secrets
import socket
import socketserver
import sqlite3
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from memaudit.catalogue import Catalogue
from memaudit.errors import BadInput
from reports.catalogue_html import (
    EXAMPLE,
    REPORT,
    policy,
    render_life,
    render_listing,
    render_refusal,
)

HOST = "127.0.0.1"
_TOKEN = 24  # bytes
_PATIENCE = 30  # seconds for a request to come in
# A report names in itself the scripts that it may run; here it is kept from asking for anything.
_REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


class Server(ThreadingHTTPServer):
    """Serves the ledger of a run or an audit, until `shutdown`; each request in a thread of its own."""

    daemon_threads = True

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        """Listen on a port of the loopback address, 0 for any that is free.

        Raises BadInput where there is no ledger in the folder, or the port cannot be had.
        """
        self.catalogue = Catalogue(folder)
        self.token = secrets.token_urlsafe(_TOKEN)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise BadInput(
                f"--port: expected one that is free, got {port}: {error.strerror}: set another, or 0 for any"
            ) from None

    def server_bind(self) -> None:
        """Bind, and ask no name server what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def address(self) -> str:
        """Where the list is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a browser calls this server."""
        return tuple(f"{name}:{self.server_port}" for name in (HOST, "localhost"))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that turns away is no error; what else goes wrong is told on the terminal."""
        if not isinstance(sys.exc_info()[1], ConnectionError | socket.timeout):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = _PATIENCE
    server_version, sys_version = "memaudit", ""

    def do_GET(self) -> None:
        """Answer with a page."""
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            self._say(HTTPStatus.FORBIDDEN, "This address is served to this machine alone.")
            return
        path, _, query = self.path.partition("?")
        token, slash, name = path.removeprefix("/").partition("/")
        known = hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self.server.token.encode())
        if not (known and slash and path.startswith("/")):
            self._say(HTTPStatus.NOT_FOUND, "There is no such page: take the address that was printed.")
            return
        self._page(name, query)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Refuse: there is nothing to change."""
        self._say(HTTPStatus.METHOD_NOT_ALLOWED, "Pages can only be read.", Allow="GET, HEAD")

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

    def _page(self, name: str, query: str) -> None:
        catalogue = self.server.catalogue
        try:
            if name == REPORT:
                self._send(HTTPStatus.OK, catalogue.report.read_bytes(), "text/html", _REPORT_POLICY)
            elif name == EXAMPLE:
                self._html(HTTPStatus.OK, render_life(catalogue.life(query)))
            elif name:
                self._refuse(HTTPStatus.NOT_FOUND, "There is a list, a page for each example and a report.")
            else:
                self._html(HTTPStatus.OK, render_listing(catalogue.listing(query)))
        except BadInput as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except FileNotFoundError:
            self._refuse(
                HTTPStatus.NOT_FOUND, "There is no report beside the ledger: memaudit report makes one."
            )
        except sqlite3.OperationalError as error:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE, f"The ledger cannot be read now: {error}. Try again."
            )

    def _html(self, status: HTTPStatus, text: str) -> None:
        self._send(status, text.encode("utf-8", "replace"), "text/html", policy())

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._html(status, render_refusal("memaudit view", message))

    def _say(self, status: int, text: str, **headers: str) -> None:
        """A line to one who is not known: it tells nothing of what is served."""
        self._send(status, f"{text}\n".encode(), "text/plain", "default-src 'none'", **headers)

    def _send(self, status: int, body: bytes, kind: str, allowed: str, **headers: str) -> None:
        self.send_response(status)
        for key, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": f"{allowed}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            **headers,
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request, in the same words for all."""
        self._say(code, "This is not understood.")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no log: the addresses hold the token."""
