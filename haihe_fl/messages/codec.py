"""Arrays to messages and back, with nothing in between that could run code."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haihe_fl.errors import IntegrityError
from haihe_fl.messages.node_pb2 import Tensor

DTYPES = frozenset({"uint8", "int8", "int32", "int64", "uint64", "float32", "float64"})
MOST_ENTRIES = 2**40
MOST_DIMENSIONS = 8


def to_tensor(array: NDArray[Any]) -> Tensor:
    """Encode an array of one of ``DTYPES``."""
    if array.dtype.name not in DTYPES:
        raise ValueError(f"arrays of {array.dtype} do not travel")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return Tensor(dtype=array.dtype.name, shape=array.shape, data=little.tobytes())


def from_tensor(tensor: Tensor) -> NDArray[Any]:
    """Decode an array; it is read-only.

    Raises
    ------
    IntegrityError
        H5301 if the dtype is unknown or the bytes do not fill the shape.
    """
    shape = tuple(tensor.shape)
    if (
        tensor.dtype not in DTYPES
        or len(shape) > MOST_DIMENSIONS
        or math.prod(shape) * np.dtype(tensor.dtype).itemsize != len(tensor.data)
        or math.prod(n or 1 for n in shape) > MOST_ENTRIES  # empty, with absurd other sides
    ):
        raise IntegrityError(
            "H5301",
            en="a message holds an array whose type or shape does not fit its bytes; "
            "both sides must run the same version",
            zh="消息中的数组类型或形状与其字节不符;请确认双方软件版本一致",
        )
    flat: NDArray[Any] = np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype).newbyteorder("<"))
    return flat.reshape(shape)


def from_tensors(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Decode a map of arrays."""
    return {name: from_tensor(tensor) for name, tensor in tensors.items()}
