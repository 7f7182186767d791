"""The published client's objects: every kind of payload goes in and comes out the same."""

import pytest
from harness.stock import in_stock_client


def test_the_client_is_the_published_one_unmodified(make_stock):
    """Every file of the package has the hash that its wheel recorded."""

    def check():
        import base64
        import hashlib
        import importlib.metadata

        import flamepy

        assert flamepy.__version__ == "0.6.0"
        distribution = importlib.metadata.distribution("flamepy")
        assert distribution.version == "0.6.0"
        hashed = [file for file in distribution.files if file.hash]
        assert len(hashed) > 10
        for file in hashed:
            digest = hashlib.new(file.hash.mode, file.locate().read_bytes()).digest()
            assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value, file

    make_stock().call(check)


@in_stock_client
def test_plain_values_come_back(app):
    from flamepy.core.cache import get_object, put_object

    values = [
        None,
        True,
        0,
        -(2**70),
        1.5,
        "text",
        "ü",
        b"bytes",
        bytearray(b"x"),
        [1, [2]],
        (1,),
        {1},
        {"a": {"b": 1}},
    ]
    values += [b"", "", [], {}, b"FLM\x00", b"\x80\x05", range(3), 1j, frozenset([1])]
    for value in values:
        ref = put_object(f"{app}/session", value)
        assert get_object(ref) == value
        assert type(get_object(ref)) is type(value)


@in_stock_client
def test_functions_and_classes_travel_by_value(app):
    from flamepy.core.cache import get_object, put_object

    factor = 3

    class Local:
        def __init__(self, x):
            self.x = x

        def times(self):
            return self.x * factor

    assert get_object(put_object(f"{app}/s", lambda x: x * factor))(5) == 15
    assert get_object(put_object(f"{app}/s", Local(7))).times() == 21
    assert get_object(put_object(f"{app}/s", Local))(2).times() == 6


@in_stock_client
def test_numpy_arrays_come_back(app):
    import numpy as np
    from flamepy.core.cache import get_object, put_object

    base = np.arange(24.0).reshape(2, 3, 4)
    for array in (
        base,
        np.asfortranarray(base),
        base[:, ::2],
        base.astype(np.int8),
        np.zeros(3, np.float16),
        np.float64(5),
    ):
        back = get_object(put_object(f"{app}/s", array))
        assert np.array_equal(back, array)
        assert back.dtype == array.dtype


@in_stock_client
def test_a_numpy_array_of_16_mib_comes_back(app):
    import numpy as np
    from flamepy.core.cache import get_object, put_object

    array = np.random.default_rng(1).integers(0, 2**60, 2 << 20)
    assert np.array_equal(get_object(put_object(f"{app}/s", array)), array)


@in_stock_client
def test_arrow_arrays_come_back(app):
    import pyarrow as pa
    from flamepy.core.cache import get_object, put_object

    arrays = [
        pa.array([1, None]),
        pa.array(["a"]),
        pa.array([[1]]),
        pa.array(["x", "x"]).dictionary_encode(),
        pa.array([]),
    ]
    for array in [*arrays, pa.chunked_array([[1], [2, 3]])]:
        back = get_object(put_object(f"{app}/s", array))
        assert back.equals(array)
        assert type(back) is type(array)


@in_stock_client
def test_arrow_tables_come_back_with_their_metadata(app):
    import pyarrow as pa
    from flamepy.core.cache import get_object, put_object

    table = pa.table({"x": [1, 2], "s": ["a", None]}, metadata={"mine": "kept"})
    back = get_object(put_object(f"{app}/s", table))
    assert back.equals(table, check_metadata=True)
    bare = pa.table({"x": [1]})
    assert not get_object(put_object(f"{app}/s", bare)).schema.metadata


@in_stock_client
def test_record_batches_come_back_as_batches(app):
    import pyarrow as pa
    from flamepy.core.cache import get_object, put_object

    batch = pa.record_batch({"x": [1, 2], "l": [[1], None]})
    back = get_object(put_object(f"{app}/s", batch))
    assert isinstance(back, pa.RecordBatch)
    assert back.equals(batch)


@in_stock_client
def test_c5_empty_tables_come_back(app):
    import pyarrow as pa
    from flamepy.core.cache import get_object, put_object

    for kind in (pa.int64(), pa.string(), pa.null(), pa.list_(pa.int8())):
        table = pa.table({"x": pa.array([], kind)})
        assert get_object(put_object(f"{app}/s", table)).equals(table)
    assert get_object(put_object(f"{app}/s", pa.table({"x": pa.nulls(3)}))).num_rows == 3
    assert get_object(put_object(f"{app}/s", pa.table({}))).num_columns == 0


@in_stock_client
def test_pandas_data_frames_come_back(app):
    import pandas as pd
    from flamepy.core.cache import get_object, put_object

    frame = pd.DataFrame(
        {
            "x": [1, 2, 3],
            "f": [1.5, None, 2.5],
            "s": ["a", "b", None],
            "t": pd.date_range("2024-01-01", periods=3, tz="UTC"),
        },
        index=pd.Index(["r1", "r2", "r3"], name="rows"),
    )
    back = get_object(put_object(f"{app}/s", frame))
    pd.testing.assert_frame_equal(back, frame)


@in_stock_client
def test_c6_pandas_categoricals_come_back(app):
    import pandas as pd
    from flamepy.core.cache import get_object, put_object

    frame = pd.DataFrame(
        {
            "c": pd.Categorical(["low", "high", None, "low"], ["low", "mid", "high"], ordered=True),
            "d": pd.Categorical(["x"] * 4),
        }
    )
    back = get_object(put_object(f"{app}/s", frame))
    pd.testing.assert_frame_equal(back, frame)
    assert back["c"].cat.ordered
    assert list(back["c"].cat.categories) == ["low", "mid", "high"]


@in_stock_client
def test_polars_data_frames_and_lazy_frames_come_back(app):
    import polars as pl
    from flamepy.core.cache import get_object, put_object

    frame = pl.DataFrame({"x": [1, None], "s": ["a", "b"], "l": [[1, 2], []], "n": [None, None]})
    back = get_object(put_object(f"{app}/s", frame))
    assert isinstance(back, pl.DataFrame)
    assert back.equals(frame)
    lazy = frame.lazy().filter(pl.col("x").is_not_null())
    assert get_object(put_object(f"{app}/s", lazy)).equals(lazy.collect())


@in_stock_client
def test_c6_polars_categoricals_and_enums_come_back(app):
    import polars as pl
    from flamepy.core.cache import get_object, put_object

    frame = pl.DataFrame({"c": ["a", "b", "a"], "e": ["y", "x", "y"]}).with_columns(
        pl.col("c").cast(pl.Categorical), pl.col("e").cast(pl.Enum(["x", "y"]))
    )
    back = get_object(put_object(f"{app}/s", frame))
    assert back["c"].cast(pl.String).to_list() == ["a", "b", "a"]
    assert back["e"].cast(pl.String).to_list() == ["y", "x", "y"]


@in_stock_client
def test_anything_with_to_arrow_comes_back_as_a_table(app):
    import pyarrow as pa
    from flamepy.core.cache import get_object, put_object

    class Dataset:
        def to_arrow(self):
            return pa.table({"x": [1]})

    assert get_object(put_object(f"{app}/s", Dataset())).equals(pa.table({"x": [1]}))


@in_stock_client
def test_several_batches_come_back_as_one_table(app):
    import pyarrow as pa
    from flamepy.core.cache import get_object, put_object

    batches = [
        pa.record_batch({"d": pa.array(words).dictionary_encode()})
        for words in (["a", "b"], ["c"], [])
    ]
    table = pa.Table.from_batches([batch.cast(batches[0].schema) for batch in batches])
    back = get_object(put_object(f"{app}/s", table))
    assert back["d"].to_pylist() == ["a", "b", "c"]


@pytest.mark.slow
@in_stock_client
def test_64_mib_go_there_and_back(app):
    import os

    import pyarrow as pa
    from flamepy.core.cache import get_object, put_object

    data = os.urandom(64 << 20)
    assert get_object(put_object(f"{app}/s", data)) == data
    table = pa.table({"x": pa.array(range(1 << 20)), "y": pa.array(range(1 << 20))})
    assert get_object(put_object(f"{app}/s", table)).equals(table)
