"""Everything below the convenience layer: keys, references, errors, the object cache."""

from flamepy.core.cache import (
    configure_cache,
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
from flamepy.core.errors import FlameError, FlameErrorCode
from flamepy.core.keys import WILDCARD_SESSION, ObjectKey
from flamepy.core.refs import ObjectRef
from flamepy.core.types import short_name

__all__ = [
    "DEFAULT_FLAME_CACHE_ENDPOINT",
    "DEFAULT_FLAME_CONF",
    "DEFAULT_FLAME_ENDPOINT",
    "WILDCARD_SESSION",
    "FlameContext",
    "FlameContextRunner",
    "FlameError",
    "FlameErrorCode",
    "FlamePackage",
    "ObjectKey",
    "ObjectRef",
    "configure_cache",
    "download_object",
    "get_many",
    "get_object",
    "list_objects",
    "patch_object",
    "put_many",
    "put_object",
    "reload_context",
    "short_name",
    "stat_object",
    "update_object",
    "upload_object",
    "watch_objects",
]
