"""Protobuf's wire format, field by field: the default installation has no `onnx`, and a check needs no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# Wire types
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}

# Readers keep 32 bits of a tag; what a longer one means would be theirs to choose.
MAX_TAG = 2**32 - 1


class Field(NamedTuple):
    """A field of a message: where it starts, where its content does, where it ends."""

    number: int
    kind: int
    start: int
    body: int
    end: int


def fields(data: memoryview, at: int, end: int) -> Iterator[Field]:
    """The fields of the message in data[at:end].

    Raises:
        ValueError, IndexError: it is not a message.
    """
    while at < end:
        start = at
        tag, at = read_varint(data, at)
        if tag > MAX_TAG:
            raise ValueError("a tag of more than 32 bits")
        kind, body = tag & 7, at
        if kind == BYTES:
            size, body = read_varint(data, at)
            at = body + size
        elif kind == VARINT:
            _, at = read_varint(data, at)
        elif kind in FIXED_SIZES:
            at += FIXED_SIZES[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("a field ends beyond its message")
        yield Field(tag >> 3, kind, start, body, at)


def text(data: memoryview, field: Field) -> str:
    return bytes(data[field.body : field.end]).decode()


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number without sign, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def message(*content: tuple[int, int | bytes]) -> bytes:
    """A message of (field number, whole number or bytes)."""
    parts = []
    for number, value in content:
        if isinstance(value, int):
            parts += [varint(number << 3 | VARINT), varint(value)]
        else:
            parts += [varint(number << 3 | BYTES), varint(len(value)), value]
    return b"".join(parts)
