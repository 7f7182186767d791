"""What is put and got: a small dict, or so many random bytes. Zeros would flatter who compresses or shares pages."""

from __future__ import annotations

import cloudpickle
import numpy as np
import pyarrow as pa

SMALL = {"test": "data", "value": 123}


def value_of(name: str):
    """`small`, or a number of bytes. The same in every process."""
    if name == "small":
        return SMALL
    return np.frombuffer(np.random.default_rng(7).bytes(int(name)), np.uint8)


def stored_form(value) -> pa.Buffer:
    """The bytes that the published client makes of it."""
    if isinstance(value, dict):
        return pa.py_buffer(b"FLM\x00" + cloudpickle.dumps(value))
    sink = pa.BufferOutputStream()
    sink.write(b"FLM\x01")
    pa.ipc.write_tensor(pa.Tensor.from_numpy(value), sink)
    return sink.getvalue()
