"""Prints the bytes that tests/unit/events.cpp expects, packed with struct from the format's own definition."""
import struct


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def record(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


value = b"\x0a\x04loss" + b"\x15" + struct.pack("<f", 0.25)
summary = b"\x0a" + bytes([len(value)]) + value
scalar = b"\x09" + struct.pack("<d", 1.5) + b"\x10\xac\x02" + b"\x2a" + bytes([len(summary)]) + summary
version = b"\x09" + struct.pack("<d", 2) + b"\x10\x00" + b"\x1a\x0dbrain.Event:2"
print("scalar ", record(scalar).hex())
print("version", record(version).hex())
