"""Keys: which texts name objects, and that no text reaches anything else."""

import uuid

import pyarrow as pa
import pytest
from harness.errors import refused
from pyarrow import flight as fl

REFUSED_EVERYWHERE = [
    "",
    "a",
    "a/",
    "/s",
    "//",
    "a//o",
    "/s/o",
    "a/s/",
    "a/s/o/x",
    "./s/o",
    "a/./o",
    "a/s/.",
    "../s/o",
    "a/../o",
    "a/s/..",
    "a/s/b..c",
    "a\\b/s/o",
    "a/s\\t/o",
    "a/s/o\\p",
    "*/s",
    "*/s/o",
    "a/*/o",
    "a/s/*",
    ".flame/s/o",
    ".flame/s",
    "a/s/\x00",
]
ONLY_WRITES_REFUSE = ["a/s/\x01", "a/s/tab\t", "a/s/line\n", "a/s/\x7f", "a/s/" + "x" * 241]
ACCEPTED = [
    "a b/s t/o p",
    "a*/s*/o*",
    "ä/ß/日本語",
    "a/s/.hidden",
    "a/s/o.arrow",
    "a/s/o.deltas",
    "a/s/-",
    "A/S/O",
    "a/shared/o",
    "a/default/o",
    "a/pkg/x.tar.gz",
    "a/s/" + "x" * 240,
    "a/s/{tag}",
    "a/s/%2e%2e",
]


@pytest.mark.parametrize("key", [*REFUSED_EVERYWHERE, *ONLY_WRITES_REFUSE])
def test_a_bad_key_is_refused_by_put(flight, key):
    with refused("invalid"):
        flight.put(key, b"x")


@pytest.mark.parametrize("key", [*REFUSED_EVERYWHERE, "a/s", "a/*"])
def test_a_bad_key_is_refused_by_patch_and_get(flight, key):
    with refused("invalid"):
        flight.patch(key, b"x")
    with refused("invalid"):
        flight.get(f"{key}:0")


@pytest.mark.parametrize("key", [k for k in REFUSED_EVERYWHERE if k])
def test_a_bad_key_is_refused_by_delete(flight, key):
    with refused("invalid"):
        flight.delete(key)


def test_a_key_that_is_not_utf8_is_refused(flight):
    with refused("invalid"):
        flight.get(b"a/s/\xff\xfe")
    with refused("invalid"):
        flight.action("DELETE", b"a/\xff")
    with refused("invalid"):
        flight.put(fl.FlightDescriptor.for_command(b"PATCH:a/s/\xff"), b"x")


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_unusual_key_works_in_every_call(flight, app, name):
    key = f"{app}{name}" if not name.startswith("a/") else f"{app}{name[1:]}"
    assert flight.put(key, b"1").key == key
    assert flight.patch(key, b"2").version == 2
    assert flight.get(f"{key}:0").value == b"1"
    assert flight.keys(key.rsplit("/", 1)[0] + "/") == [key]
    flight.delete(key)
    with refused("not_found"):
        flight.get(f"{key}:0")


def test_keys_differ_by_case_and_are_not_trimmed(flight, app):
    names = ["o", "O", " o", "o "]
    for name in names:
        flight.put(f"{app}/s/{name}", name.encode())
    assert [flight.get(f"{app}/s/{name}:0").value for name in names] == [n.encode() for n in names]


def test_a_prefix_gets_a_random_uuid(flight, app):
    keys = {flight.put(f"{app}/s", b"x").key for _ in range(5)}
    assert len(keys) == 5
    for key in keys:
        prefix, _, name = key.rpartition("/")
        assert prefix == f"{app}/s"
        assert name == str(uuid.UUID(name))
        assert uuid.UUID(name).version == 4


def test_a1_a_delete_of_dots_is_refused_and_deletes_nothing(flight, app):
    key = flight.put(f"{app}/s/o", b"x").key
    for selection in ("./*", "./.", f"{app}/.", f"{app}/..", "../*", ".", "*", "*/*", "/", ""):
        with refused("invalid"):
            flight.delete(selection)
    assert flight.get(f"{key}:0").value == b"x"


def test_a1_a_wildcard_delete_of_our_own_folder_is_refused(flight):
    with refused("invalid"):
        flight.delete(".flame/*")


def test_a2_a_dot_aliases_no_other_key(flight, app):
    flight.put(f"{app}/s/o", b"x")
    for alias in (f"./{app}/o", f"{app}/./o", f"{app}/s/."):
        with refused("invalid"):
            flight.put(alias, b"y")
        with refused("invalid"):
            flight.get(f"{alias}:0")
    assert flight.keys(f"{app}/") == [f"{app}/s/o"]


def test_c3_put_joins_the_elements_of_a_path_as_get_flight_info_does(flight, app):
    ref = flight.put([app, "s", "o"], b"x")
    assert ref.key == f"{app}/s/o"
    info = flight.info(app, "s", "o")
    assert info.descriptor.path == [f"{app}/s/o".encode()]
    assert flight.get(info.endpoints[0].ticket.ticket).value == b"x"


@pytest.mark.parametrize("name", ["a:b", "a:1", "a:1:2", ":", "::", ":5", "1:", "a:b:0"])
def test_c4_a_key_with_a_colon_can_be_written_and_read(flight, documents, app, name):
    key = f"{app}/s/{name}"
    flight.put(key, b"first")
    flight.put(key, b"second")
    assert flight.get(f"{key}:0").value == b"second"
    assert flight.get(f"{key}:2").not_modified
    assert documents.fetch(key).value == b"second"
    [listed] = flight.list(key)
    assert flight.get(listed.endpoints[0].ticket.ticket).value == b"second"
    assert flight.get(flight.info(key).endpoints[0].ticket.ticket).value == b"second"


def test_c12_get_refuses_a_wildcard_for_what_it_is(flight):
    for ticket in ("a/*/x", "a/*/x:0", "a/*:0"):
        with refused("invalid"):
            flight.get(ticket)


def test_c13_a_patch_takes_its_key_from_the_command(flight, app):
    flight.put(f"{app}/s/o", b"x")
    flight.put(f"{app}/s/other", b"y")
    flight.patch(f"{app}/s/o", b"+")
    assert [kind for _, kind, _ in flight.get(f"{app}/s/o:0").rows] == ["base", "patch"]
    assert [kind for _, kind, _ in flight.get(f"{app}/s/other:0").rows] == ["base"]


def test_d14_the_session_names_shared_and_default_are_ordinary(flight, app):
    for session in ("shared", "default", "pkg"):
        ref = flight.put(f"{app}/{session}", b"x")
        assert flight.get(f"{ref.key}:0").value == b"x"
        flight.delete(f"{app}/{session}")
    assert flight.keys(f"{app}/") == []


@pytest.mark.parametrize("suffix", ["-1", "1x", "", "18446744073709551616"])
def test_a_bad_version_in_a_ticket_is_refused(flight, app, suffix):
    flight.put(f"{app}/s/o", b"x")
    with refused("invalid"):
        flight.get(f"{app}/s/o:{suffix}")


@pytest.mark.parametrize("suffix", ["", ":0", ":+0", ":00", ":18446744073709551615", ":999"])
def test_a_version_that_nobody_has_gets_everything(flight, app, suffix):
    flight.put(f"{app}/s/o", b"x")
    assert flight.get(f"{app}/s/o{suffix}").value == b"x"


def test_a_descriptor_that_names_nothing_is_refused(flight):
    schema = pa.schema([("version", pa.uint64()), ("data", pa.binary())])
    for command in (b"", b"PUT:a/s/o", b"UPDATE:a/s/o", b"patch:a/s/o", b"\xff\xfe", b"a/s/o"):
        with refused("invalid"):
            flight.put_stream(fl.FlightDescriptor.for_command(command), schema, [])
    with refused("invalid"):
        flight.put_stream(fl.FlightDescriptor.for_path(), schema, [])
