"""Protocol buffers, as much of them as the session protocol needs, without a descriptor pool.

Generated code puts its descriptors into a pool that the whole process shares, where a second
copy of ``flame.v1`` (the published client's) is an error. These messages are in no pool.

A message is a class with a table of fields. What the wire does not bring has the default that
the table gives; unknown fields are skipped.
"""

from __future__ import annotations

from typing import Any, Callable, ClassVar, NamedTuple, TypeVar

from flamepy.core.errors import DecodeError

__all__ = ["Field", "Message", "boolean", "data", "integer", "message", "text"]

M = TypeVar("M", bound="Message")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """A field of a message.

    Attributes
    ----------
    number : int
    wire : int
        Wire type.
    to_wire, from_wire : callable
        Between a value and a varint, or bytes.
    repeated : bool
        A list; its default is empty.
    optional : bool
        Presence counts: None is absent, and everything else is sent.
    default : Any
        Of a field without presence; it is not sent.
    """

    number: int
    wire: int
    to_wire: Callable[[Any], Any]
    from_wire: Callable[[Any], Any]
    repeated: bool
    optional: bool
    default: Any


def _identity(value: Any) -> Any:
    return value


def _unsigned(value: int) -> int:
    return int(value) & 0xFFFFFFFFFFFFFFFF


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def integer(number: int, *, optional: bool = False) -> Field:
    """int32, int64, uint32, uint64 or an enumeration."""
    return Field(number, _VARINT, _unsigned, _signed, False, optional, 0)


def boolean(number: int) -> Field:
    """A truth value."""
    return Field(number, _VARINT, int, bool, False, False, False)


def text(number: int, *, optional: bool = False, repeated: bool = False) -> Field:
    """A string."""
    return Field(number, _BYTES, str.encode, _decode_text, repeated, optional, "")


def data(number: int, *, optional: bool = False) -> Field:
    """Bytes."""
    return Field(number, _BYTES, _identity, bytes, False, optional, b"")


def message(number: int, kind: type[Message], *, repeated: bool = False) -> Field:
    """A message; its presence always counts."""
    return Field(number, _BYTES, kind.encode, kind.decode, repeated, not repeated, None)


def _decode_text(raw: Any) -> str:
    return str(raw, "utf-8", "replace")


class Message:
    """Base of all messages. A subclass names its fields: ``FIELDS = {"name": text(1)}``."""

    FIELDS: ClassVar[dict[str, Field]] = {}
    _BY_NUMBER: ClassVar[dict[int, tuple[str, Field]]] = {}
    _DEFAULTS: ClassVar[dict[str, Any]] = {}
    _REPEATED: ClassVar[list[str]] = []

    def __init_subclass__(cls) -> None:
        cls._BY_NUMBER = {field.number: (name, field) for name, field in cls.FIELDS.items()}
        cls._DEFAULTS = {
            name: None if field.optional else field.default for name, field in cls.FIELDS.items()
        }
        cls._REPEATED = [name for name, field in cls.FIELDS.items() if field.repeated]

    def __init__(self, **values: Any) -> None:
        state = self.__dict__
        state.update(self._DEFAULTS)
        for name in self._REPEATED:
            state[name] = []
        if values:
            unknown = values.keys() - self.FIELDS.keys()
            if unknown:
                raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
            state.update(values)

    def encode(self) -> bytes:
        """The message's bytes, fields in the order of their numbers as the table has them."""
        parts: list[bytes] = []
        for name, field in self.FIELDS.items():
            value = getattr(self, name)
            if field.repeated:
                for item in value:
                    _write(parts, field, item)
            elif value is not None and (field.optional or value != field.default):
                _write(parts, field, value)
        return b"".join(parts)

    @classmethod
    def decode(cls: type[M], raw: Any) -> M:
        """Read a message.

        Raises
        ------
        DecodeError
            The bytes are none.
        """
        result = cls()
        view = memoryview(raw)
        position, end = 0, len(view)
        by_number = cls._BY_NUMBER
        try:
            while position < end:
                tag, position = _varint(view, position)
                wire = tag & 7
                value: Any
                if wire == _VARINT:
                    value, position = _varint(view, position)
                elif wire == _BYTES:
                    size, position = _varint(view, position)
                    value = view[position : position + size]
                    position += size
                elif wire in (_FIXED64, _FIXED32):
                    value = None
                    position += 8 if wire == _FIXED64 else 4
                else:
                    raise DecodeError(f"not a {cls.__name__}: wire type {wire}")
                if position > end:
                    raise IndexError
                name, field = by_number.get(tag >> 3, ("", None))
                if field is None or field.wire != wire:
                    continue
                if field.repeated:
                    getattr(result, name).append(field.from_wire(value))
                else:
                    setattr(result, name, field.from_wire(value))
        except IndexError:
            raise DecodeError(f"not a {cls.__name__}: it ends too early") from None
        return result

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({values})"


def _write(parts: list[bytes], field: Field, value: Any) -> None:
    raw = field.to_wire(value)
    parts.append(_encode_varint(field.number << 3 | field.wire))
    if field.wire == _VARINT:
        parts.append(_encode_varint(raw))
    else:
        parts.append(_encode_varint(len(raw)))
        parts.append(raw)


def _encode_varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    byte = view[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = view[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position + 1
        shift += 7
        if shift > 63:
            raise DecodeError("not a protocol buffer: a number of more than ten bytes")


_SMALL = [bytes([value]) for value in range(0x80)]
