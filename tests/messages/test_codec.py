"""The closed list, and arrays that travel in it."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from haihe_fl.errors import IntegrityError
from haihe_fl.messages import node_pb2 as m
from haihe_fl.messages.codec import DTYPES, from_tensor, from_tensors, to_tensor

REPLIES = {
    "NodeReply": {
        "status": "Status",
        "key_offer": "KeyOffer",
        "upload": "Upload",
        "pair_seeds": "PairSeeds",
        "self_shares": "SelfShares",
        "local_update": "LocalUpdate",
        "refusal": "Refusal",
    },
    "Status": {
        "institution": "string",
        "catalogue_fingerprint": "string",
        "software": "string",
        "epsilon_spent": "double",
        "epsilon_cap": "double",
        "delta": "double",
        "data_commitment": "string",
        "fixed_noise": "bool",
    },
    "KeyOffer": {
        "institution": "string",
        "run": "string",
        "mask_key": "bytes",
        "share_key": "bytes",
        "certificate": "bytes",
        "signature": "bytes",
    },
    "Upload": {"release": "string", "vector": "bytes", "shares": "map"},
    "PairSeeds": {"release": "string", "seeds": "map"},
    "SelfShares": {"release": "string", "shares": "map"},
    "LocalUpdate": {"round": "uint32", "weights": "Tensor"},
    "Refusal": {"code": "string"},
}
"""Everything that may leave an institution. Adding to it is a decision about privacy."""

REQUESTS = {
    *("NodeRequest", "Hello", "Prepare", "Roster", "Release", "RevealPairs", "RevealShares"),
    *("LocalTraining", "Finish", "Tensor"),
}

TYPES = {1: "double", 8: "bool", 9: "string", 12: "bytes", 13: "uint32"}


def test_the_list_is_closed() -> None:
    found = m.DESCRIPTOR.message_types_by_name
    assert set(found) == REQUESTS | set(REPLIES)
    for name, expected in REPLIES.items():
        fields = {}
        for field in found[name].fields:
            inner = field.message_type
            if inner is None:
                fields[field.name] = TYPES[field.type]
            else:
                fields[field.name] = "map" if inner.GetOptions().map_entry else inner.name
        assert fields == expected, name


arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


@given(arrays)
def test_arrays_come_back(array: np.ndarray) -> None:
    tensor = m.Tensor.FromString(to_tensor(array).SerializeToString())
    back = from_tensor(tensor)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


def test_order_of_bytes_and_of_axes() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    tensor = to_tensor(array)
    assert (tensor.dtype, list(tensor.shape)) == ("int32", [3, 2])
    assert np.array_equal(from_tensor(tensor), array)
    assert np.array_equal(from_tensors({"a": tensor})["a"], array)


@pytest.mark.parametrize("array", [np.array([None]), np.array(["a"]), np.zeros(1, complex)])
def test_other_types_do_not_travel(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not travel"):
        to_tensor(array)


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("object", [1], bytes(8)),
        ("O", [1], bytes(8)),
        ("", [], b""),
        ("bool", [1], b"\x02"),
        ("datetime64[D]", [1], bytes(8)),
        ("float32", [2], bytes(7)),
        ("float32", [2], bytes(12)),
        ("float32", [], b""),
        ("float64", [2**31, 2**31, 4], b""),  # 2^64 entries: zero in 64 bits
        ("float64", [2**32 - 1] * 8, bytes(8)),
        ("uint8", [1] * 100, b"a"),
    ],
)
def test_forged_tensors(dtype: str, shape: list[int], data: bytes) -> None:
    with pytest.raises(IntegrityError, match="H5301"):
        from_tensor(m.Tensor(dtype=dtype, shape=shape, data=data))


@given(
    st.builds(
        m.Tensor,
        dtype=st.sampled_from(sorted(DTYPES)),
        data=st.binary(max_size=64),
        shape=st.lists(st.integers(0, 2**32 - 1), max_size=12),
    )
)
@example(m.Tensor(dtype="float32", shape=[0, 2**32 - 1, 2**32 - 1, 2**31], data=b""))
def test_a_tensor_is_read_or_refused(tensor: m.Tensor) -> None:
    try:
        assert from_tensor(tensor).nbytes == len(tensor.data)
    except IntegrityError as error:
        assert error.code == "H5301"
