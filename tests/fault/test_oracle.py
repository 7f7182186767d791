"""The test of the tests: the books of the kill loop notice each kind of lie."""

import pytest
from harness.oracle import Expiry, Pending, Record, State

ONE, TWO, THREE = "one", "two", "three"


def book():
    """v1 one, v2 patch two: acknowledged."""
    record = Record()
    record.acknowledged("put", 1, ONE)
    record.acknowledged("patch", 2, TWO)
    return record


TRUTH = State(2, ((1, ONE), (2, TWO)))


def test_the_truth_is_accepted():
    assert book().check(TRUTH) == ""


def test_a_lost_write_is_noticed():
    assert book().check(State(1, ((1, ONE),)))
    assert book().check(State())


def test_wrong_bytes_are_noticed():
    assert book().check(State(2, ((1, ONE), (2, THREE))))
    assert book().check(State(2, ((1, THREE), (2, TWO))))


def test_a_write_that_nobody_made_is_noticed():
    assert book().check(State(3, ((1, ONE), (2, TWO), (3, THREE))))


def test_an_unanswered_write_may_be_there_or_not_but_not_half():
    for found in (TRUTH, State(3, ((1, ONE), (2, TWO), (3, THREE)))):
        record = book()
        record.pending = Pending("patch", THREE)
        assert record.check(found) == ""
    record = book()
    record.pending = Pending("put", THREE)
    assert record.check(State(3, ((3, THREE),))) == ""
    record = book()
    record.pending = Pending("put", THREE)
    assert record.check(State(3, ((1, ONE), (2, TWO), (3, THREE))))


def test_an_unanswered_delete_may_be_done_or_not():
    for found in (TRUTH, State()):
        record = book()
        record.pending = Pending("delete")
        assert record.check(found) == ""


def test_a_deleted_object_that_comes_back_is_noticed():
    record = book()
    record.acknowledged_delete()
    assert record.check(TRUTH)


def test_a_version_that_is_used_again_is_noticed():
    record = book()
    record.acknowledged_delete()
    record.pending = Pending("put", THREE)
    assert record.check(State(2, ((2, THREE),)))
    record = book()
    record.acknowledged_delete()
    record.pending = Pending("put", THREE)
    assert record.check(State(3, ((3, THREE),))) == ""


def test_an_answer_with_a_used_version_is_noticed():
    record = book()
    record.acknowledged_delete()
    try:
        record.acknowledged("put", 2, THREE)
    except AssertionError:
        return
    raise AssertionError("v2 was accepted twice")


def expiring_book():
    """v1 one, which goes between second 10 and 11."""
    record = Record()
    record.acknowledged("put", 1, ONE, Expiry(10, 11))
    return record


def test_an_object_is_there_before_it_expires_and_gone_afterwards():
    there, gone = State(1, ((1, ONE),)), State()
    assert expiring_book().check(there, asked=8, answered=9) == ""
    assert expiring_book().check(gone, asked=8, answered=9)
    assert expiring_book().check(there, asked=12, answered=13)
    assert expiring_book().check(gone, asked=12, answered=13) == ""
    for found in (there, gone):
        assert expiring_book().check(found, asked=9, answered=12) == ""


def test_a_patch_that_finds_nothing_is_noticed_unless_the_object_may_have_expired():
    expiring_book().acknowledged_absence(now=10.5)
    with pytest.raises(AssertionError, match=r"another 1\.000 s"):
        expiring_book().acknowledged_absence(now=9)
    with pytest.raises(AssertionError, match="does not expire"):
        book().acknowledged_absence(now=9)


def test_a_patch_leaves_the_expiry_and_a_put_replaces_it():
    record = expiring_book()
    record.acknowledged("patch", 2, TWO)
    assert record.check(TRUTH, asked=12, answered=13)
    record = expiring_book()
    record.acknowledged("put", 2, TWO)
    assert record.check(State(), asked=12, answered=13)


def test_an_unanswered_put_brings_its_own_expiry():
    record = book()
    record.pending = Pending("put", THREE, Expiry(10, 11))
    assert record.check(State(), asked=12, answered=13) == ""
    record = book()
    record.pending = Pending("put", THREE, Expiry(10, 11))
    assert record.check(State(), asked=8, answered=9)
