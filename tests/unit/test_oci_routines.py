"""`oci.routines`: the machine code is what the assembler makes of this source, and does what its module says."""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from oci import routines, syscalls
from oci.merging import writable_mappings

SOURCE = """
.intel_syntax noprefix
add:
    endbr64
1:  test rsi, rsi
    jz 3f
    mov rax, [rdi]
    test rax, rax
    jz 2f
    cmp dword ptr [rax+4], 0
    jne 2f
    add [rax], rdx
2:  add rdi, rcx
    dec rsi
    jmp 1b
3:  xor eax, eax
    ret
.balign 16
replace:
    endbr64
    push rbx
    push rbp
    mov rbx, rdi
    mov rbp, rsi
    mov r8, rdx
1:  test rbp, rbp
    jz 2f
    mov edi, r8d
    mov rsi, [rbx]
    mov rdx, [rbx+8]
    mov r10, [rbx+16]
    mov eax, 18
    syscall
    cmp rax, rdx
    jne 2f
    mov rdi, rsi
    mov rsi, rdx
    mov edx, 3
    mov r9, r10
    mov r10d, 0x12
    mov eax, 9
    syscall
    cmp rax, rdi
    jne 2f
    add rbx, 24
    dec rbp
    jmp 1b
2:  mov rax, rbp
    pop rbp
    pop rbx
    ret
.balign 16
restore:
    endbr64
    push rbx
    push rbp
    push r12
    push r13
    push r14
    sub rsp, 1024
    mov rbx, rdi
    mov rbp, rsi
    mov r12d, edx
    xor r8d, r8d
1:  dec rbp
    js 5f
    mov r13, [rbx]
    mov r14, [rbx+8]
    add r14, r13
2:  cmp r13, r14
    jae 4f
    mov edi, r12d
    mov rsi, rsp
    mov rdx, r14
    sub rdx, r13
    shr rdx, 9
    cmp rdx, 1024
    jbe 6f
    mov edx, 1024
6:  mov r10, r13
    shr r10, 9
    mov eax, 17
    syscall
    cmp rax, rdx
    jne 4f
    mov r9, rsp
    lea r10, [rsp+rdx]
3:  mov rax, [r9]
    shr rax, 61
    cmp eax, 4
    jne 7f
    mov rdi, r13
    mov rsi, r13
    add rsi, [rbx+16]
    mov ecx, 512
8:  mov rax, [rdi]
    mov rdx, [rsi]
    cmp rax, rdx
    je 9f
    shr rax, 32
    shr rdx, 32
    cmp eax, edx
    jne 7f
    cmp eax, 256
    jne 7f
9:  add rdi, 8
    add rsi, 8
    dec ecx
    jnz 8b
    mov rdi, r13
    mov esi, 4096
    mov edx, 4
    mov eax, 28
    syscall
    test eax, eax
    jnz 7f
    inc r8d
7:  add r13, 4096
    add r9, 8
    cmp r9, r10
    jb 3b
    jmp 2b
4:  add rbx, 24
    jmp 1b
5:  mov eax, r8d
    add rsp, 1024
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
"""

LOADED = routines.load()
needs_routines = pytest.mark.skipif(LOADED is None, reason="x86-64 only")


@pytest.mark.skipif(os.uname().machine != "x86_64" or shutil.which("as") is None, reason="no assembler for x86-64")
def test_the_code_is_that_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "source.s").write_text(SOURCE)
    subprocess.run(["as", "source.s", "-o", "object.o"], cwd=tmp_path, check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", "object.o", "code"], cwd=tmp_path, check=True)
    assert (tmp_path / "code").read_bytes() == routines.X86_64


@needs_routines
def test_add() -> None:
    assert LOADED is not None
    words = array.array("Q", (5, 6, 7))
    start, _ = words.buffer_info()
    addresses = array.array("Q", (start, 1, start + 16, 1, 0, 1, start, 1))
    LOADED.add(addresses.buffer_info()[0], 4, 1 << 40, 16)
    assert list(words) == [5 + (1 << 40), 6, 7 + (1 << 40)]


class Memory:
    """Four pages of this process that are a private mapping of a file, and the file mapped again beside them."""

    def __init__(self) -> None:
        assert LOADED is not None
        self.bytes = mmap.mmap(-1, 4 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.bytes.write(b"".join(bytes((65 + page,)) * mmap.PAGESIZE for page in range(4)))
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))
        self.file = os.memfd_create("original")
        os.ftruncate(self.file, 4 * mmap.PAGESIZE)
        self.ranges = array.array("Q", (self.start, 4 * mmap.PAGESIZE, 0))
        self.left = LOADED.replace(self.ranges.buffer_info()[0], 1, self.file)
        self.view = syscalls.mmap(4 * mmap.PAGESIZE, mmap.PROT_READ, self.file)

    def restore(self) -> int:
        assert LOADED is not None
        ranges = array.array("Q", (self.start, 4 * mmap.PAGESIZE, (self.view - self.start) % (1 << 64)))
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
        try:
            return LOADED.restore(ranges.buffer_info()[0], 1, pagemap)
        finally:
            os.close(pagemap)


@needs_routines
def test_memory_is_replaced_by_a_file_with_the_same_content() -> None:
    memory = Memory()
    assert memory.left == 0
    assert memory.bytes[:] == os.pread(memory.file, 4 * mmap.PAGESIZE, 0)
    assert memory.bytes[mmap.PAGESIZE] == ord("B")
    memory.bytes[0] = 0
    assert os.pread(memory.file, 1, 0) == b"A"


@needs_routines
def test_pages_that_are_what_they_were_are_given_up_and_others_not() -> None:
    memory = Memory()
    memory.bytes[0], memory.bytes[mmap.PAGESIZE] = 0, 0
    memory.bytes[0] = ord("A")
    assert memory.restore() == 1
    assert memory.restore() == 0
    assert (memory.bytes[0], memory.bytes[mmap.PAGESIZE]) == (ord("A"), 0)


@needs_routines
def test_counts_that_do_not_matter_go_back() -> None:
    memory = Memory()
    one = (1 << 40) + 3
    os.pwrite(memory.file, one.to_bytes(8, "little"), 0)
    assert memory.bytes[:8] == one.to_bytes(8, "little")
    memory.bytes[:8] = (one + 5).to_bytes(8, "little")
    assert memory.restore() == 1
    assert memory.bytes[:8] == one.to_bytes(8, "little")
    memory.bytes[:8] = (one + (1 << 41)).to_bytes(8, "little")
    assert memory.restore() == 0


@needs_routines
def test_a_range_that_cannot_be_replaced_is_counted() -> None:
    assert LOADED is not None
    file = os.memfd_create("original")
    ranges = array.array("Q", (0, mmap.PAGESIZE, 0))
    assert LOADED.replace(ranges.buffer_info()[0], 1, file) == 1
    os.close(file)


@needs_routines
def test_the_code_is_never_writable() -> None:
    with open("/proc/self/maps") as file:
        lines = [line for line in file if "coracle-routines" in line]
    assert lines
    assert all(line.split()[1] == "r-xp" for line in lines)
    assert list(writable_mappings("".join(lines))) == []
