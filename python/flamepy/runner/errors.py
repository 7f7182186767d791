"""What can go wrong with packages and with the runner's own data."""

from __future__ import annotations

from enum import Enum
from typing import Optional

from flamepy.core.errors import FlameErrorCode, InvalidArgument, _CodedError

__all__ = [
    "ErrorType",
    "InstallFailed",
    "PackageError",
    "RunnerError",
    "UnsafePackage",
]


class PackageError(InvalidArgument):
    """A package is no archive that we know, is damaged, or cannot be fetched."""


class UnsafePackage(PackageError):
    """A package has a member that would leave its directory, is a device, or is too much."""


class InstallFailed(_CodedError):
    """The installer (uv or pip) did not install a package.

    Attributes
    ----------
    log : str
        The end of what the installer said.
    """

    _code = FlameErrorCode.INTERNAL

    def __init__(self, message: str, log: str = "", *, outcome: Optional[str] = None) -> None:
        super().__init__(message, outcome=outcome)
        self.args = (message, log)
        self.log = log


class ErrorType(Enum):
    """What `RunnerError` is about."""

    DECODE_ERROR = "decode_error"
    CACHE_RETRIEVAL_ERROR = "cache_retrieval_error"
    DATA_FORMAT_ERROR = "data_format_error"


class RunnerError(_CodedError):
    """Data of a task could not be read by `flamepy.runner.get_data`.

    Attributes
    ----------
    error_type : ErrorType
    message : str
    cause : BaseException or None
    key : str or None
        Of the object that was asked for.
    data_type : str or None
        What the data turned out to be.
    """

    _code = FlameErrorCode.INTERNAL

    def __init__(
        self,
        error_type: ErrorType,
        message: str,
        cause: Optional[BaseException] = None,
        key: Optional[str] = None,
        data_type: Optional[str] = None,
    ) -> None:
        super().__init__(message)
        self.args = (error_type, message, cause, key, data_type)
        self.error_type = error_type
        self.cause = cause
        self.key = key
        self.data_type = data_type

    def __str__(self) -> str:
        facts = [f"{self.error_type.value}: {self.message}"]
        facts += [f"key {self.key}"] if self.key else []
        facts += [f"data is {self.data_type}"] if self.data_type else []
        facts += [f"because: {self.cause}"] if self.cause else []
        return "; ".join(facts)
