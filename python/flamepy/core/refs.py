"""References: the few bytes that stand for an object anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import bson
from bson.int64 import Int64

from flamepy.core.errors import InvalidArgument, InvalidKey
from flamepy.core.keys import ObjectKey

__all__ = ["ObjectRef"]

_MAX_VERSION = 2**63 - 1


@dataclass(frozen=True)
class ObjectRef:
    """Where an object lives, and the version that this reference was made for.

    Immutable, hashable and picklable; safe to share between threads and processes.

    Parameters
    ----------
    endpoint : str
        Server that holds the object, ``grpc://host:port`` or ``grpc+tls://host:port``.
    key : str
        ``app/session/object``.
    version : int, default 0
        Reading always yields the newest version. 0 asks `get_object` to bypass the
        client's cache.

    Examples
    --------
    >>> ref = ObjectRef("grpc://127.0.0.1:9090", "app/session/object", 3)
    >>> ObjectRef.decode(ref.encode()) == ref
    True
    >>> print(ref)
    grpc://127.0.0.1:9090/app/session/object@3
    """

    endpoint: str
    key: str
    version: int = 0

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.key}@{self.version}"

    def encode(self) -> bytes:
        """Encode as BSON with the three elements that every Flame client understands."""
        return bson.encode(self.to_document())

    def to_document(self) -> dict:
        """The three elements, for a document that may have others."""
        return {"endpoint": self.endpoint, "key": self.key, "version": Int64(self.version)}

    @classmethod
    def decode(cls, data: bytes) -> ObjectRef:
        """Decode and check a reference; other elements than ours are ignored.

        Raises
        ------
        InvalidArgument
            `data` is not BSON, or an element is missing, of a wrong type, or no valid key.
            Bytes that merely look like BSON are so not mistaken for a reference.
        """
        try:
            document = bson.decode(data)
        except (bson.errors.BSONError, TypeError, ValueError) as error:
            raise InvalidArgument(f"not an object reference: {error}") from error
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: dict) -> ObjectRef:
        """Check the three elements of a decoded document and make a reference of them."""
        endpoint = document.get("endpoint")
        key = document.get("key")
        version = document.get("version", 0)
        if not isinstance(endpoint, str) or "://" not in endpoint:
            raise InvalidArgument(f"not an object reference: endpoint is {endpoint!r}")
        if type(version) not in (int, Int64) or not 0 <= version <= _MAX_VERSION:
            raise InvalidArgument(f"not an object reference: version is {version!r}")
        try:
            ObjectKey.from_key(key)
        except InvalidKey as error:
            raise InvalidArgument(f"not an object reference: {error}") from error
        return cls(endpoint, key, int(version))


# Pickles name the class where the published client has it.
ObjectRef.__module__ = "flamepy.core.cache"
