"""The test of the tests: the books of the kill loop notice each kind of lie."""

from harness.oracle import Pending, Record, State

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
