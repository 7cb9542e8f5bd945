"""Lossless compression of small and large pieces of data, by Zstandard."""

from __future__ import annotations

import zstandard

_LEVEL = 3
# Contexts that nobody uses now: two threads must not use one at once, but one after the other may,
# so there are as many as were ever in use at once (tens of kilobytes each).
_compressors: dict[int, list[zstandard.ZstdCompressor]] = {}
_decompressors: list[zstandard.ZstdDecompressor] = []


def compressed(data: bytes, level: int = _LEVEL) -> bytes:
    """A Zstandard frame of `data`."""
    free = _compressors.setdefault(level, [])
    try:
        compressor = free.pop()
    except IndexError:
        compressor = zstandard.ZstdCompressor(level=level)
    # A copy: the compressor's own result keeps the memory that incompressible data would take.
    frame = bytes(memoryview(compressor.compress(data)))
    free.append(compressor)
    return frame


def content_size(frame: bytes) -> int:
    """Bytes that decompressing a frame makes.

    Raises:
        zstandard.ZstdError, ValueError: it does not say.
    """
    size: int = zstandard.frame_content_size(frame)
    if size < 0:
        raise ValueError("a frame that does not say how large its content is")
    return size


def decompressed(frame: bytes) -> bytes:
    """What was compressed.

    Raises:
        zstandard.ZstdError: the frame is damaged.
    """
    try:
        decompressor = _decompressors.pop()
    except IndexError:
        decompressor = zstandard.ZstdDecompressor()
    data: bytes = decompressor.decompress(frame)  # one that has failed is not used again
    _decompressors.append(decompressor)
    return data
