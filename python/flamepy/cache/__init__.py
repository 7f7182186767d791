"""The object cache's functions by themselves: ``from flamepy.cache import get_object``."""

from flamepy.core.cache import (
    Event,
    Feed,
    ObjectInfo,
    ObjectKey,
    ObjectRef,
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

__all__ = [
    "Event",
    "Feed",
    "ObjectInfo",
    "ObjectKey",
    "ObjectRef",
    "configure_cache",
    "delete_objects",
    "download_object",
    "get_object",
    "list_objects",
    "patch_object",
    "put_object",
    "stat_object",
    "update_object",
    "upload_object",
    "watch_objects",
]
