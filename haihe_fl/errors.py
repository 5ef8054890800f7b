"""Numbered errors.

::

    HaiheError            exit code  numbers
    ├── UserError              2     H2xxx   input, schema, usage
    ├── PolicyError            3     H3xxx   a policy or a privacy budget forbids it
    ├── NetworkError           4     H4xxx   a peer cannot be reached or did not answer
    └── IntegrityError         5     H5xxx   a signature, hash or invariant does not hold

Every error says what is wrong, where, and how to mend it, in English and Chinese, and
has an entry of its own in ``docs/errors.md``. The text stays on the side where the error
arose: only ``code`` ever crosses the trust boundary.
"""

from typing import ClassVar

from haihe_fl.i18n import tr


class HaiheError(Exception):
    """Base of all errors that a user is meant to read.

    Parameters
    ----------
    code : str
        Number of the error, for example ``"H2001"``; its first digit is the exit code.
    en, zh : str
        What is wrong, where, and how to mend it, in English and in Chinese.

    Examples
    --------
    >>> error = UserError("H2001", en="no file a.csv; check the path", zh="没有文件 a.csv")
    >>> error.code, error.exit_code
    ('H2001', 2)
    """

    exit_code: ClassVar[int]

    def __init__(self, code: str, *, en: str, zh: str) -> None:
        super().__init__(code, en, zh)
        if not code.startswith(f"H{self.exit_code}"):
            raise ValueError(f"{code} does not belong to {type(self).__name__}")
        self.code = code
        self.en = en
        self.zh = zh

    def __str__(self) -> str:
        return f"{self.code} {tr(self.en, self.zh)}"


class UserError(HaiheError):
    """The input, the schema or the usage is wrong."""

    exit_code = 2


class PolicyError(HaiheError):
    """A policy or a privacy budget forbids what was asked."""

    exit_code = 3


class NetworkError(HaiheError):
    """A peer cannot be reached, or did not answer in time."""

    exit_code = 4


class IntegrityError(HaiheError):
    """A signature, a hash or an invariant does not hold."""

    exit_code = 5
