"""Keep in a shared object only the GPU code that one architecture runs: bytes in, bytes of the same length out.

The section .nv_fatbin is a row of containers, each with entries of machine code (ELF) and PTX for several
architectures. Containers stay where they are and unused bytes become zeros, so that no address changes and the file
compresses well.
"""

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

MAGIC = struct.pack("<I", 0xBA55ED50)
CONTAINER = struct.Struct("<HHQ")  # version, header size, size of the entries; after the magic number
ENTRY = struct.Struct("<HHIQIIHHI")  # kind, version, header size, size, compressed size, …, minor, major, architecture
SECTION = struct.Struct("<IIQQQQIIQQ")
PTX, ELF = 1, 2
KINDS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Entry:
    """The GPU code for one architecture, such as 90; `start` to `end` is its header and its code."""

    kind: int
    architecture: int
    start: int
    code: int
    end: int


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a section; its entries begin at `entries_start`, its size is stored at `size_at`."""

    number: int
    size_at: int
    entries_start: int
    end: int
    entries: tuple[Entry, ...]


def read_containers(data: bytes | bytearray) -> list[Container]:
    """Return the containers of a 64-bit ELF file in the order of the file. Raises ValueError for another content."""
    found: list[Container] = []
    for start, end in _sections(data):
        at = data.find(MAGIC, start, end)
        while at >= 0:
            container = _container(data, at, end, len(found))
            found.append(container)
            at = data.find(MAGIC, container.end, end)
    return found


def used_entries(container: Container, architecture: int, ptx_of: Collection[int]) -> list[Entry]:
    """Return the entries that a GPU of an architecture runs.

    That is its own machine code, else that of the nearest lower minor version, which it runs too. Without any it is the
    newest PTX that is not above it, if the number of the container is in `ptx_of`: the driver compiles it.
    """
    codes = [e for e in container.entries if e.kind == ELF and e.architecture // 10 == architecture // 10]
    usable = [e.architecture for e in codes if e.architecture <= architecture]
    if usable:
        return [e for e in codes if e.architecture == max(usable)]
    texts = [e for e in container.entries if e.kind == PTX and e.architecture <= architecture]
    if not texts or container.number not in ptx_of:
        return []
    return [max(texts, key=lambda e: e.architecture)]


def keep_architecture(data: bytes, architecture: int, ptx_of: Collection[int] = ()) -> bytes:
    """Return the file with only the entries that an architecture uses; a container without any keeps one empty entry.

    Raises ValueError where the file cannot be read.
    """
    new = bytearray(data)
    for container in read_containers(data):
        kept = b"".join(data[e.start : e.end] for e in used_entries(container, architecture, ptx_of))
        if not kept and container.entries:
            shell = min(container.entries, key=lambda e: e.end - e.start)
            kept = data[shell.start : shell.code] + bytes(shell.end - shell.code)
        unused = container.end - container.entries_start - len(kept)
        new[container.entries_start : container.end] = kept + bytes(unused)
        struct.pack_into("<Q", new, container.size_at, len(kept))
    return bytes(new)


def same_code(original: bytes, slimmed: bytes, architecture: int) -> int:
    """Return the number of containers whose machine code for an architecture is the same in both files.

    Raises ValueError where a container lost or changed some.
    """
    same = 0
    old, new = read_containers(original), {each.size_at: each for each in read_containers(slimmed)}
    for container in old:
        codes = [original[e.code : e.end] for e in used_entries(container, architecture, ())]
        kept = new.get(container.size_at)
        others = [] if kept is None else [slimmed[e.code : e.end] for e in used_entries(kept, architecture, ())]
        if codes and codes != others:
            raise ValueError(f"the code of container {container.number} for sm_{architecture} is not the same")
        same += bool(codes)
    return same


def _container(data: bytes | bytearray, at: int, end: int, number: int) -> Container:
    _, header, size = CONTAINER.unpack_from(data, at + 4)
    start, stop = at + header, at + header + size
    if stop > end:
        raise ValueError(f"the container at {at:#x} ends at {stop:#x}, after its section")
    entries, inside = [], start
    while inside < stop:
        kind, _, head, length, *_, architecture = ENTRY.unpack_from(data, inside)
        if kind not in KINDS or head < ENTRY.size or inside + head + length > stop:
            raise ValueError(f"the entry at {inside:#x} cannot be read: kind {kind}, header {head}, size {length}")
        entries.append(Entry(kind, architecture, inside, inside + head, inside + head + length))
        inside += head + length
    return Container(number, at + 8, start, stop, tuple(entries))


def _sections(data: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Yield start and end of each section with GPU code."""
    if data[:5] != b"\x7fELF\x02":
        raise ValueError("it is no 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    heads = [SECTION.unpack_from(data, table + size * number) for number in range(count)]
    strings = heads[names][4]
    for head in heads:
        at = strings + head[0]
        if data[at : data.find(b"\0", at)].startswith((b".nv_fatbin", b"__nv_relfatbin")):
            yield head[4], head[4] + head[5]
