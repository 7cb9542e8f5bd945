"""The file that makes a folder a store: format, identity of the template, where its blobs are."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from memprof.errors import StoreError

CREATE_AGAIN = "delete the store and create it again"

_NAME = "store.json"
_FAMILY, _VERSION = "memprof.store", "1"


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a blob is in the file of blobs, and the CRC-32 of its bytes."""

    start: int
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a store holds besides its records.

    Attributes:
        identity: digest of the template that the records are differences from.
        blobs: by name.
    """

    identity: bytes
    blobs: Mapping[str, Extent]

    def write(self, folder: Path) -> None:
        """Make the folder a store."""
        content = {
            "identity": self.identity.hex(),
            "blobs": {name: asdict(extent) for name, extent in self.blobs.items()},
        }
        whole = {
            "format": f"{_FAMILY}/{_VERSION}",
            "checksum": _checksum(content),
            "content": content,
        }
        (folder / _NAME).write_text(json.dumps(whole, indent=1))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The header of a store; a StoreError where there is none, or not a usable one."""
        if not folder.is_dir():
            raise StoreError(f"{folder}: there is no such folder: create the store first")
        try:
            whole: dict[str, Any] = json.loads((folder / _NAME).read_text())
            family, version = str(whole["format"]).split("/")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{folder}: is not a store of memprof ({_NAME}: {error}): give another folder"
            ) from error
        if family != _FAMILY:
            raise StoreError(
                f"{folder}: is not a store of memprof but of {family}: give another folder"
            )
        if version != _VERSION:
            raise StoreError(
                f"{folder}: has format {version}, and this version of memprof reads format "
                f"{_VERSION}: {CREATE_AGAIN}"
            )
        content: dict[str, Any] = whole.get("content", {})
        if _checksum(content) != whole.get("checksum"):
            raise StoreError(f"{folder}: {_NAME} has changed since it was written: {CREATE_AGAIN}")
        blobs = {name: Extent(**extent) for name, extent in content["blobs"].items()}
        return cls(bytes.fromhex(content["identity"]), blobs)


def _checksum(content: Any) -> int:
    return zlib.crc32(json.dumps(content).encode())
