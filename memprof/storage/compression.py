"""Lossless compression of small and large pieces of data, by Zstandard."""

from __future__ import annotations

import zstandard

_LEVEL = 3

# What a compressor holds grows with the data, up to megabytes, and stays. So one that is kept is as
# large from the start as it will ever be, and larger data has one of its own, which goes again.
# More than three times of what tiny data needs is no use: Zstandard would let it shrink again.
_KEPT_FOR_BYTES = 2048


class _Compressor:
    """Its size is what Zstandard has allocated, which Python does not know of."""

    __slots__ = ("_zstd",)

    def __init__(self, level: int) -> None:
        self._zstd = zstandard.ZstdCompressor(level=level)

    def __sizeof__(self) -> int:
        return self._zstd.memory_size()

    def frame(self, data: bytes) -> bytes:
        # A copy: the compressor's own result keeps the memory that incompressible data would take.
        return bytes(memoryview(self._zstd.compress(data)))


class _Decompressor:
    """Likewise; it is as large for any data."""

    __slots__ = ("_zstd",)

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def __sizeof__(self) -> int:
        return self._zstd.memory_size()

    def content(self, frame: bytes) -> bytes:
        return self._zstd.decompress(frame)


# Those that nobody uses now: two threads must not use one at once, but one after the other may, so
# there are as many as were ever in use at once.
_compressors: dict[int, list[_Compressor]] = {}
_decompressors: list[_Decompressor] = []


def compressed(data: bytes, level: int = _LEVEL) -> bytes:
    """A Zstandard frame of `data`."""
    if len(data) > _KEPT_FOR_BYTES:
        return _Compressor(level).frame(data)
    free = _compressors.setdefault(level, [])
    try:
        compressor = free.pop()
    except IndexError:
        compressor = _Compressor(level)
        compressor.frame(bytes(_KEPT_FOR_BYTES))
    frame = compressor.frame(data)
    free.append(compressor)
    return frame


def content_size(frame: bytes) -> int:
    """The size of a frame's content in bytes.

    Raises:
        zstandard.ZstdError, ValueError: it does not say.
    """
    size: int = zstandard.frame_content_size(frame)
    if size < 0:
        raise ValueError("a frame that does not say how large its content is")
    return size


def decompressed(frame: bytes) -> bytes:
    """The content of a frame.

    Raises:
        zstandard.ZstdError: the frame is damaged.
    """
    try:
        decompressor = _decompressors.pop()
    except IndexError:
        decompressor = _Decompressor()
    data = decompressor.content(frame)  # one that has failed is not used again
    _decompressors.append(decompressor)
    return data


def kept() -> list[object]:
    """What is kept for the next piece of data, whosever it is."""
    return [*_decompressors, *(each for free in _compressors.values() for each in free)]


def let_go() -> None:
    """Keep nothing until the next piece of data."""
    _compressors.clear()
    _decompressors.clear()
