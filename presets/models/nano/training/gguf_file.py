"""Writes GGUF version 3, and quantises to Q8_0 (layout: llama.cpp's gguf and ggml-quants). Needs numpy only."""
import struct

import numpy as np

U32, I32, F32, BOOL, STR, ARRAY = 4, 5, 6, 7, 8, 9
PACK = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}
TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "i32": 26}
ALIGNMENT = 32


def q8_0(matrix: np.ndarray) -> bytes:
    """Blocks of 32 along the last axis: one f16 scale (largest magnitude / 127), then 32 int8."""
    blocks = matrix.astype(np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127.0
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    # Halves away from zero, as C's roundf; numpy's own rounding is to even.
    scaled = blocks * inverse
    values = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).astype(np.int8)
    out = np.empty((len(blocks), 34), dtype=np.uint8)
    out[:, :2] = scale.astype("<f2").view(np.uint8)
    out[:, 2:] = values.view(np.uint8)
    return out.tobytes()


class GgufFile:
    """Metadata and tensors in the order they were added."""

    def __init__(self):
        self.values, self.tensors = [], []

    @staticmethod
    def _text(text: str) -> bytes:
        data = text.encode()
        return struct.pack("<Q", len(data)) + data

    def _value(self, kind: int, value) -> bytes:
        return self._text(value) if kind == STR else struct.pack(PACK[kind], value)

    def set(self, key: str, kind: int, value) -> None:
        if isinstance(value, (list, tuple)):
            body = struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(self._value(kind, v) for v in value)
        else:
            body = struct.pack("<I", kind) + self._value(kind, value)
        self.values.append(self._text(key) + body)

    def tensor(self, name: str, array: np.ndarray, kind: str) -> None:
        """`array` in row-major order; GGUF lists its dimensions innermost first."""
        data = {"f32": lambda: array.astype("<f4").tobytes(), "f16": lambda: array.astype("<f2").tobytes(),
                "i32": lambda: array.astype("<i4").tobytes(), "q8_0": lambda: q8_0(array)}[kind]()
        self.tensors.append((name, array.shape[::-1], TYPES[kind], data))

    def write(self, path) -> None:
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.values)) + b"".join(self.values)
        offset = 0
        for name, dims, kind, data in self.tensors:
            head += self._text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
            offset += len(data) + -len(data) % ALIGNMENT
        with open(path, "wb") as file:
            file.write(head + b"\0" * (-len(head) % ALIGNMENT))
            for *_, data in self.tensors:
                file.write(data + b"\0" * (-len(data) % ALIGNMENT))
