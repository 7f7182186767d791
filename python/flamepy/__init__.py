"""Flame: a distributed, versioned, Arrow-native object cache.

Examples
--------
>>> import flamepy
>>> ref = flamepy.put_object("app/session", {"answer": 42})  # doctest: +SKIP
>>> flamepy.get_object(ref)  # doctest: +SKIP
{'answer': 42}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flamepy.core.cache import (
    Client,
    Event,
    Feed,
    ItemResult,
    ObjectInfo,
    PutItem,
    configure_cache,
    delete_objects,
    download_object,
    get_many,
    get_object,
    list_objects,
    patch_object,
    put_many,
    put_object,
    stat_object,
    update_object,
    upload_object,
    watch_objects,
)
from flamepy.core.context import (
    DEFAULT_FLAME_CACHE_ENDPOINT,
    DEFAULT_FLAME_CONF,
    DEFAULT_FLAME_ENDPOINT,
    FlameContext,
    FlameContextRunner,
    FlamePackage,
    reload_context,
)
from flamepy.core.errors import (
    BatchError,
    Cancelled,
    ClientClosed,
    Corrupt,
    DecodeError,
    FlameError,
    FlameErrorCode,
    InternalError,
    InvalidArgument,
    InvalidConfig,
    InvalidKey,
    NotFound,
    NotSupported,
    PickleRefused,
    ResourceExhausted,
    Timeout,
    TlsError,
    TooLarge,
    TooManyPatches,
    Unavailable,
    UnknownOutcome,
    VersionConflict,
    WrongKind,
)
from flamepy.core.keys import WILDCARD_SESSION, ObjectKey
from flamepy.core.refs import ObjectRef

if TYPE_CHECKING:
    from flamepy import aio

__version__ = "0.7.0"

__all__ = [
    "DEFAULT_FLAME_CACHE_ENDPOINT",
    "DEFAULT_FLAME_CONF",
    "DEFAULT_FLAME_ENDPOINT",
    "WILDCARD_SESSION",
    "BatchError",
    "Cancelled",
    "Client",
    "ClientClosed",
    "Corrupt",
    "DecodeError",
    "Event",
    "Feed",
    "FlameContext",
    "FlameContextRunner",
    "FlameError",
    "FlameErrorCode",
    "FlamePackage",
    "InternalError",
    "InvalidArgument",
    "InvalidConfig",
    "InvalidKey",
    "ItemResult",
    "NotFound",
    "NotSupported",
    "ObjectInfo",
    "ObjectKey",
    "ObjectRef",
    "PickleRefused",
    "PutItem",
    "ResourceExhausted",
    "Timeout",
    "TlsError",
    "TooLarge",
    "TooManyPatches",
    "Unavailable",
    "UnknownOutcome",
    "VersionConflict",
    "WrongKind",
    "aio",
    "configure_cache",
    "delete_objects",
    "download_object",
    "get_many",
    "get_object",
    "list_objects",
    "patch_object",
    "put_many",
    "put_object",
    "reload_context",
    "stat_object",
    "update_object",
    "upload_object",
    "watch_objects",
]


def __getattr__(name: str) -> Any:
    if name == "aio":  # Imported when it is used: asyncio costs as much as the rest.
        import importlib

        return importlib.import_module("flamepy.aio")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
