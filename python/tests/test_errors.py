"""Errors: their bases, their text, and what Flight's exceptions become."""

from __future__ import annotations

import inspect
import pickle

import flamepy
import pyarrow as pa
import pytest
from flamepy.core import errors, failures
from pyarrow import flight

ALL = [getattr(errors, name) for name in errors.__all__ if name != "FlameErrorCode"]
CODED = [error for error in ALL if error is not errors.FlameError]


@pytest.mark.parametrize("error", ALL)
def test_every_error_has_the_one_base_and_a_docstring(error):
    assert issubclass(error, flamepy.FlameError)
    assert error.__doc__
    assert getattr(flamepy, error.__name__) is error


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (flamepy.NotFound, KeyError),
        (flamepy.Timeout, TimeoutError),
        (flamepy.Unavailable, ConnectionError),
        (flamepy.InvalidKey, ValueError),
        (flamepy.WrongKind, ValueError),
        (flamepy.DecodeError, ValueError),
    ],
)
def test_errors_are_builtins_too(error, builtin):
    with pytest.raises(builtin, match=r"^what to do$"):
        raise error("what to do")


@pytest.mark.parametrize("error", CODED)
def test_errors_survive_pickling(error):
    original = error("text", outcome="unknown")
    copy = pickle.loads(pickle.dumps(original))
    assert (str(copy), copy.code, copy.outcome) == ("text", original.code, "unknown")


def test_a_plain_error_survives_pickling():
    copy = pickle.loads(pickle.dumps(flamepy.FlameError(flamepy.FlameErrorCode.INTERNAL, "text")))
    assert (copy.code, copy.message) == (flamepy.FlameErrorCode.INTERNAL, "text")


def test_conflict_carries_the_current_version():
    copy = pickle.loads(pickle.dumps(flamepy.VersionConflict("text", 9)))
    assert copy.current_version == 9


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("invalid", flamepy.InvalidArgument),
        ("not_found", flamepy.NotFound),
        ("wrong_kind", flamepy.WrongKind),
        ("too_large", flamepy.TooLarge),
        ("too_many_patches", flamepy.TooManyPatches),
        ("exhausted", flamepy.ResourceExhausted),
        ("corrupt", flamepy.Corrupt),
        ("io", flamepy.InternalError),
        ("unknown_outcome", flamepy.UnknownOutcome),
        ("unavailable", flamepy.Unavailable),
        ("of_the_future", flamepy.InternalError),
    ],
)
def test_tags_decide_and_are_not_shown(tag, expected):
    raised = pa.ArrowInvalid(f"put a/b/c: because [flame:{tag} outcome=not_applied]")
    error = failures.translate(raised, "put a/b/c")
    assert type(error) is expected
    assert str(error) == "put a/b/c: because"
    assert error.outcome == "not_applied"


def test_what_grpc_wraps_around_a_message_is_not_shown():
    text = (
        "Flight returned already exists error, with message: put a/s/o: expected v7, the newest "
        "is v9 [flame:conflict version=9 outcome=not_applied]. gRPC client debug context: "
        "UNKNOWN:Error received {grpc_message:x [flame:conflict version=1]}. Client context: OK"
    )
    error = failures.translate(pa.ArrowException(text), "put a/s/o")
    assert isinstance(error, flamepy.VersionConflict)
    assert error.current_version == 9
    assert str(error) == "put a/s/o: expected v7, the newest is v9"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (pa.ArrowKeyError("gone"), flamepy.NotFound),
        (pa.ArrowInvalid("bad"), flamepy.InvalidArgument),
        (pa.ArrowNotImplementedError("no"), flamepy.InvalidArgument),
        (flight.FlightUnavailableError("down"), flamepy.Unavailable),
        (flight.FlightTimedOutError("late"), flamepy.Timeout),
        (flight.FlightCancelledError("stop"), flamepy.Cancelled),
        (flight.FlightInternalError("bug"), flamepy.InternalError),
        (OSError("broken pipe"), flamepy.InternalError),
    ],
)
def test_untagged_errors_say_what_was_tried_and_what_to_do(raised, expected):
    error = failures.translate(raised, "get a/b/c")
    assert type(error) is expected
    assert str(error).startswith("get a/b/c: ")
    assert ";" in str(error)


def test_error_documents():
    document = {"code": "conflict", "message": "m", "outcome": "not_applied", "version": 3}
    error = failures.from_document(document, "put a/b/c")
    assert isinstance(error, flamepy.VersionConflict)
    assert (error.current_version, error.outcome) == (3, "not_applied")


def test_only_a_connection_that_answered_nothing_counts_as_lost():
    for text, lost in [("no route", True), ("out of memory [flame:exhausted]", False)]:
        raised = flight.FlightUnavailableError(text)
        with pytest.raises(flamepy.FlameError) as caught, failures.translated("get a/b/c"):
            raise raised
        assert failures.connection_lost(caught.value) is lost


def test_public_names_exist():
    for module in (flamepy, flamepy.core, inspect.importlib.import_module("flamepy.cache")):
        for name in module.__all__:
            assert hasattr(module, name), f"{module.__name__}.{name}"
