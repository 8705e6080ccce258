"""GPU code in a shared object: what an architecture runs stays byte for byte, and no address moves."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.engines.gpu_pack.fatbin import (
    ELF,
    ENTRY,
    MAGIC,
    PTX,
    SECTION,
    keep_architecture,
    read_containers,
    same_code,
    used_entries,
)

HEADER = 64
Code = tuple[int, int, bytes]  # kind, architecture, code


def container(codes: Sequence[Code]) -> bytes:
    entries = b""
    for kind, architecture, code in codes:
        head = ENTRY.pack(kind, 1, HEADER, len(code), 0, 0, 0, 0, architecture)
        entries += head.ljust(HEADER, b"\1") + code
    return MAGIC + struct.pack("<HHQ", 1, 16, len(entries)) + entries


def shared_object(containers: Sequence[Sequence[Code]], rest: bytes = b"host code") -> bytes:
    """Return an ELF file with a section of host code, .nv_fatbin, and the names of both."""
    names = b"\0.text\0.nv_fatbin\0.shstrtab\0"
    fatbin = b"".join(container(codes) + bytes(24) for codes in containers)
    parts, at, heads = (rest, fatbin, names), 64, [SECTION.pack(*[0] * 10)]
    for name, part in zip((b".text", b".nv_fatbin", b".shstrtab"), parts, strict=True):
        heads.append(SECTION.pack(names.index(name), 1, 0, 0, at, len(part), 0, 0, 1, 0))
        at += len(part)
    head = bytearray(64)
    head[:5] = b"\x7fELF\x02"
    struct.pack_into("<Q", head, 0x28, at)
    struct.pack_into("<HHH", head, 0x3A, SECTION.size, len(heads), 3)
    return bytes(head) + b"".join(parts) + b"".join(heads)


codes = st.tuples(st.sampled_from([PTX, ELF]), st.sampled_from([75, 80, 86, 90, 100]), st.binary(max_size=40))
libraries = st.lists(st.lists(codes, max_size=5), max_size=4)


@given(libraries, st.sampled_from([86, 90]), st.sets(st.integers(0, 3)))
def test_what_an_architecture_runs_stays_and_nothing_moves(made, sm, ptx_of) -> None:
    original = shared_object(made)
    slimmed = keep_architecture(original, sm, ptx_of)
    assert len(slimmed) == len(original)
    before, after = read_containers(original), read_containers(slimmed)
    assert [each.size_at for each in after] == [each.size_at for each in before]
    for old, new in zip(before, after, strict=True):
        wanted = [original[e.start : e.end] for e in used_entries(old, sm, ptx_of)]
        assert [slimmed[e.start : e.end] for e in used_entries(new, sm, ptx_of)] == wanted
        assert not wanted or len(new.entries) == len(wanted)
    same = sum(any(kind == ELF and sm // 10 * 10 <= of <= sm for kind, of, _ in one) for one in made)
    assert same_code(original, slimmed, sm) == same
    first = original.index(b"host code")
    assert slimmed[: first + 9] == original[: first + 9]


def test_an_a10_runs_the_code_of_sm_80_where_there_is_none_of_its_own() -> None:
    [one] = read_containers(shared_object([[(ELF, 80, b"a"), (ELF, 90, b"b"), (PTX, 75, b"c")]]))
    assert [e.architecture for e in used_entries(one, 86, (0,))] == [80]
    assert [e.architecture for e in used_entries(one, 90, ())] == [90]
    [text] = read_containers(shared_object([[(ELF, 100, b"a"), (PTX, 75, b"c"), (PTX, 80, b"d"), (PTX, 100, b"e")]]))
    assert [e.architecture for e in used_entries(text, 86, (0,))] == [80]
    assert used_entries(text, 86, ()) == []


def test_changed_code_is_found() -> None:
    original = shared_object([[(ELF, 90, b"kernel")]])
    changed = original.replace(b"kernel", b"kernal")
    with pytest.raises(ValueError, match="container 0 for sm_90 is not the same"):
        same_code(original, changed, 90)


@pytest.mark.parametrize("cut", [b"MZ", b"\x7fELF\x01"])
def test_another_kind_of_file_is_refused(cut: bytes) -> None:
    with pytest.raises(ValueError, match="no 64-bit ELF"):
        keep_architecture(cut, 90)


def test_a_container_that_leaves_its_section_is_refused() -> None:
    data = bytearray(shared_object([[(ELF, 90, b"kernel")]]))
    struct.pack_into("<Q", data, data.index(MAGIC) + 8, 10**6)
    with pytest.raises(ValueError, match="after its section"):
        keep_architecture(bytes(data), 90)
