"""HTTP/2 by hand: a client that stops in the middle, or says what no gRPC library would. RFC 9113, RFC 7541."""

from __future__ import annotations

import contextlib
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM = ACK = 0x1
END_HEADERS = 0x4


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def _literal(text: bytes) -> bytes:
    """A string of HPACK, not compressed; its length in 7 bits and as many more bytes as it needs."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, length = len(text) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + text


def header(name: bytes, value: bytes) -> bytes:
    return b"\0" + _literal(name) + _literal(value)


def call(method: str, stream: int = 1, *, flags: int = END_HEADERS, **more: str) -> bytes:
    """The HEADERS frame that opens a Flight call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/arrow.flight.protocol.FlightService/{method}",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
        **more,
    }
    block = b"".join(header(name.encode(), value.encode()) for name, value in fields.items())
    return frame(HEADERS, block, flags=flags, stream=stream)


def message(body: bytes, *, claimed: int | None = None, compressed: int = 0) -> bytes:
    """A gRPC message; `claimed` lies about its length."""
    return struct.pack(">BI", compressed, len(body) if claimed is None else claimed) + body


class Connection:
    """A socket that has said hello. Close it, or use it in a with statement."""

    def __init__(self, port: int, hello: bytes = PREFACE + frame(SETTINGS)):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        if hello:
            self.socket.sendall(hello)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *frames: bytes) -> None:
        """What the server no longer wants to hear is no failure."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(b"".join(frames))

    def read_until_quiet(self, seconds: float = 0.2) -> bytes:
        """What the server has to say at once."""
        self.socket.settimeout(seconds)
        said = b""
        try:
            while piece := self.socket.recv(65536):
                said += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return said
