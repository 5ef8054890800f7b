from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class NodeRequest(_message.Message):
    __slots__ = ("run", "hello", "prepare", "roster", "release", "reveal_pairs", "reveal_shares", "local_training", "finish")
    RUN_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    REVEAL_PAIRS_FIELD_NUMBER: _ClassVar[int]
    REVEAL_SHARES_FIELD_NUMBER: _ClassVar[int]
    LOCAL_TRAINING_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    run: str
    hello: Hello
    prepare: Prepare
    roster: Roster
    release: Release
    reveal_pairs: RevealPairs
    reveal_shares: RevealShares
    local_training: LocalTraining
    finish: Finish
    def __init__(self, run: _Optional[str] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., prepare: _Optional[_Union[Prepare, _Mapping]] = ..., roster: _Optional[_Union[Roster, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., reveal_pairs: _Optional[_Union[RevealPairs, _Mapping]] = ..., reveal_shares: _Optional[_Union[RevealShares, _Mapping]] = ..., local_training: _Optional[_Union[LocalTraining, _Mapping]] = ..., finish: _Optional[_Union[Finish, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Prepare(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: bytes
    def __init__(self, plan: _Optional[bytes] = ...) -> None: ...

class Roster(_message.Message):
    __slots__ = ("offers",)
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    offers: _containers.RepeatedCompositeFieldContainer[KeyOffer]
    def __init__(self, offers: _Optional[_Iterable[_Union[KeyOffer, _Mapping]]] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("name", "kind", "noise_multiplier", "length", "part", "arrays")
    class ArraysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    noise_multiplier: float
    length: int
    part: str
    arrays: _containers.MessageMap[str, Tensor]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., noise_multiplier: _Optional[float] = ..., length: _Optional[int] = ..., part: _Optional[str] = ..., arrays: _Optional[_Mapping[str, Tensor]] = ...) -> None: ...

class RevealPairs(_message.Message):
    __slots__ = ("release", "survivors")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    release: str
    survivors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, release: _Optional[str] = ..., survivors: _Optional[_Iterable[str]] = ...) -> None: ...

class RevealShares(_message.Message):
    __slots__ = ("release", "survivors", "ciphertexts")
    class CiphertextsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXTS_FIELD_NUMBER: _ClassVar[int]
    release: str
    survivors: _containers.RepeatedScalarFieldContainer[str]
    ciphertexts: _containers.ScalarMap[str, bytes]
    def __init__(self, release: _Optional[str] = ..., survivors: _Optional[_Iterable[str]] = ..., ciphertexts: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class LocalTraining(_message.Message):
    __slots__ = ("round", "weights", "proximal_mu", "arrays")
    class ArraysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    PROXIMAL_MU_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights: _containers.RepeatedCompositeFieldContainer[Tensor]
    proximal_mu: float
    arrays: _containers.MessageMap[str, Tensor]
    def __init__(self, round: _Optional[int] = ..., weights: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., proximal_mu: _Optional[float] = ..., arrays: _Optional[_Mapping[str, Tensor]] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeReply(_message.Message):
    __slots__ = ("status", "key_offer", "upload", "pair_seeds", "self_shares", "local_update", "refusal")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    KEY_OFFER_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    PAIR_SEEDS_FIELD_NUMBER: _ClassVar[int]
    SELF_SHARES_FIELD_NUMBER: _ClassVar[int]
    LOCAL_UPDATE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    status: Status
    key_offer: KeyOffer
    upload: Upload
    pair_seeds: PairSeeds
    self_shares: SelfShares
    local_update: LocalUpdate
    refusal: Refusal
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ..., key_offer: _Optional[_Union[KeyOffer, _Mapping]] = ..., upload: _Optional[_Union[Upload, _Mapping]] = ..., pair_seeds: _Optional[_Union[PairSeeds, _Mapping]] = ..., self_shares: _Optional[_Union[SelfShares, _Mapping]] = ..., local_update: _Optional[_Union[LocalUpdate, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("institution", "catalogue_fingerprint", "software", "epsilon_spent", "epsilon_cap", "delta", "data_commitment", "fixed_noise")
    INSTITUTION_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    EPSILON_SPENT_FIELD_NUMBER: _ClassVar[int]
    EPSILON_CAP_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    DATA_COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    FIXED_NOISE_FIELD_NUMBER: _ClassVar[int]
    institution: str
    catalogue_fingerprint: str
    software: str
    epsilon_spent: float
    epsilon_cap: float
    delta: float
    data_commitment: str
    fixed_noise: bool
    def __init__(self, institution: _Optional[str] = ..., catalogue_fingerprint: _Optional[str] = ..., software: _Optional[str] = ..., epsilon_spent: _Optional[float] = ..., epsilon_cap: _Optional[float] = ..., delta: _Optional[float] = ..., data_commitment: _Optional[str] = ..., fixed_noise: _Optional[bool] = ...) -> None: ...

class KeyOffer(_message.Message):
    __slots__ = ("institution", "run", "mask_key", "share_key", "certificate", "signature")
    INSTITUTION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    MASK_KEY_FIELD_NUMBER: _ClassVar[int]
    SHARE_KEY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    institution: str
    run: str
    mask_key: bytes
    share_key: bytes
    certificate: bytes
    signature: bytes
    def __init__(self, institution: _Optional[str] = ..., run: _Optional[str] = ..., mask_key: _Optional[bytes] = ..., share_key: _Optional[bytes] = ..., certificate: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Upload(_message.Message):
    __slots__ = ("release", "vector", "shares")
    class SharesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    release: str
    vector: bytes
    shares: _containers.ScalarMap[str, bytes]
    def __init__(self, release: _Optional[str] = ..., vector: _Optional[bytes] = ..., shares: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class PairSeeds(_message.Message):
    __slots__ = ("release", "seeds")
    class SeedsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    release: str
    seeds: _containers.ScalarMap[str, bytes]
    def __init__(self, release: _Optional[str] = ..., seeds: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class SelfShares(_message.Message):
    __slots__ = ("release", "shares")
    class SharesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    release: str
    shares: _containers.ScalarMap[str, bytes]
    def __init__(self, release: _Optional[str] = ..., shares: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class LocalUpdate(_message.Message):
    __slots__ = ("round", "weights")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, round: _Optional[int] = ..., weights: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code",)
    CODE_FIELD_NUMBER: _ClassVar[int]
    code: str
    def __init__(self, code: _Optional[str] = ...) -> None: ...
