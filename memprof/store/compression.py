"""Lossless compression of small and large pieces of data, by Zstandard."""

from __future__ import annotations

import threading

import zstandard

_LEVEL = 3
_local = threading.local()  # a compressor must not be used by two threads at once


def compressed(data: bytes, level: int = _LEVEL) -> bytes:
    """A Zstandard frame of `data`."""
    compressors = _local.__dict__.setdefault("compressors", {})
    compressor = compressors.get(level)
    if compressor is None:
        compressor = compressors[level] = zstandard.ZstdCompressor(level=level)
    # A copy: the compressor's own result keeps the memory that incompressible data would take.
    return bytes(memoryview(compressor.compress(data)))


def decompressed(frame: bytes) -> bytes:
    """What was compressed.

    Raises:
        zstandard.ZstdError: the frame is damaged.
    """
    decompressor = _local.__dict__.get("decompressor")
    if decompressor is None:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor()
    data: bytes = decompressor.decompress(frame)
    return data
