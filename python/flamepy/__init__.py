"""Flame: a distributed, versioned, Arrow-native object cache.

Examples
--------
>>> import flamepy
>>> ref = flamepy.put_object("app/session", {"answer": 42})  # doctest: +SKIP
>>> flamepy.get_object(ref)  # doctest: +SKIP
{'answer': 42}
"""

from flamepy.core.cache import (
    Event,
    Feed,
    ObjectInfo,
    configure_cache,
    delete_objects,
    download_object,
    get_object,
    list_objects,
    patch_object,
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
    Cancelled,
    Corrupt,
    DecodeError,
    FlameError,
    FlameErrorCode,
    InternalError,
    InvalidArgument,
    InvalidConfig,
    InvalidKey,
    NotFound,
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

__version__ = "0.7.0"

__all__ = [
    "DEFAULT_FLAME_CACHE_ENDPOINT",
    "DEFAULT_FLAME_CONF",
    "DEFAULT_FLAME_ENDPOINT",
    "WILDCARD_SESSION",
    "Cancelled",
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
    "NotFound",
    "ObjectInfo",
    "ObjectKey",
    "ObjectRef",
    "ResourceExhausted",
    "Timeout",
    "TlsError",
    "TooLarge",
    "TooManyPatches",
    "Unavailable",
    "UnknownOutcome",
    "VersionConflict",
    "WrongKind",
    "configure_cache",
    "delete_objects",
    "download_object",
    "get_object",
    "list_objects",
    "patch_object",
    "put_object",
    "reload_context",
    "stat_object",
    "update_object",
    "upload_object",
    "watch_objects",
]
