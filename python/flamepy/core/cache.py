"""The object cache: put an object here, get it anywhere.

The functions are the methods of one `Client` for the whole process, which follows the
context.
"""

from __future__ import annotations

from flamepy.core.client import Client, default_client
from flamepy.core.keys import WILDCARD_SESSION, ObjectKey
from flamepy.core.listing import Event, Feed, ObjectInfo
from flamepy.core.many import ItemResult, PutItem
from flamepy.core.objects import DEFAULT_APPLICATION, Deserializer
from flamepy.core.refs import ObjectRef

__all__ = [
    "DEFAULT_APPLICATION",
    "WILDCARD_SESSION",
    "Client",
    "Deserializer",
    "Event",
    "Feed",
    "ItemResult",
    "ObjectInfo",
    "ObjectKey",
    "ObjectRef",
    "PutItem",
    "configure_cache",
    "delete_objects",
    "download_object",
    "get_many",
    "get_object",
    "list_objects",
    "patch_object",
    "put_many",
    "put_object",
    "stat_object",
    "update_object",
    "upload_object",
    "watch_objects",
]

_client = default_client()

configure_cache = _client.configure_cache
delete_objects = _client.delete_objects
download_object = _client.download_object
get_many = _client.get_many
get_object = _client.get_object
list_objects = _client.list_objects
patch_object = _client.patch_object
put_many = _client.put_many
put_object = _client.put_object
stat_object = _client.stat_object
update_object = _client.update_object
upload_object = _client.upload_object
watch_objects = _client.watch_objects
