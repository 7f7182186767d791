"""A client of flame.manager.v1.Logs, without generated code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Optional

import grpc
from flamepy.core.sessions.wire import Message, boolean, data, integer, message, text

_STREAMS = {"OUT": 1, "ERR": 2}
_NAMES = {number: name for name, number in _STREAMS.items()}


class _Log(Message):
    FIELDS: ClassVar = {
        "instance_id": text(1),
        "session_id": text(2),
        "application": text(3),
        "stream": integer(4),
        "size": integer(5),
        "start_time": integer(6),
        "end_time": integer(7, optional=True),
        "cut": boolean(8),
    }


class _ListLogsRequest(Message):
    FIELDS: ClassVar = {"session_id": text(1), "instance_id": text(2), "application": text(3)}


class _ListLogsResponse(Message):
    FIELDS: ClassVar = {"logs": message(1, _Log, repeated=True)}


class _ReadLogRequest(Message):
    FIELDS: ClassVar = {
        "session_id": text(1),
        "instance_id": text(2),
        "stream": integer(3),
        "tail_bytes": integer(4),
        "follow": boolean(5),
    }


class LogChunk(Message):
    FIELDS: ClassVar = {
        "instance_id": text(1),
        "stream": integer(2),
        "data": data(3),
        "gap": boolean(4),
    }


@dataclass
class Log:
    """As the message, with a name for the stream."""

    instance_id: str
    session_id: str
    application: str
    stream: str
    size: int
    start_time: int
    end_time: Optional[int]
    cut: bool


class Logs:
    """One connection."""

    def __init__(self, endpoint: str):
        self._channel = grpc.insecure_channel(endpoint.removeprefix("http://"))

    def close(self) -> None:
        self._channel.close()

    def list(self, **request: str) -> list[Log]:
        call = self._channel.unary_unary(
            "/flame.manager.v1.Logs/ListLogs",
            _ListLogsRequest.encode,
            _ListLogsResponse.decode,
        )
        response = call(_ListLogsRequest(**request), timeout=30)
        return [
            Log(
                instance_id=log.instance_id,
                session_id=log.session_id,
                application=log.application,
                stream=_NAMES[log.stream],
                size=log.size,
                start_time=log.start_time,
                end_time=log.end_time,
                cut=log.cut,
            )
            for log in response.logs
        ]

    def call(self, stream: Optional[str] = None, **request: object):
        """The call itself: an iterator of chunks that can be cancelled."""
        call = self._channel.unary_stream(
            "/flame.manager.v1.Logs/ReadLog",
            _ReadLogRequest.encode,
            LogChunk.decode,
        )
        return call(_ReadLogRequest(stream=_STREAMS.get(stream, 0), **request), timeout=120)

    def chunks(self, **request: object) -> Iterator[LogChunk]:
        return iter(self.call(**request))

    def read(self, **request: object) -> bytes:
        return b"".join(chunk.data for chunk in self.call(**request))
