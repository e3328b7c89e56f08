# SPDX-License-Identifier: GPL-2.0
"""A guest's memory, and its page tables, seen from outside: QEMU's monitor dumps
all of it. Shared by scripts/outside and scripts/outside-asi.
"""
import mmap
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = 4096
BLOCK = 512                         # pages that lose their alias together
WORDS = PAGE // 8
MASK = (1 << 64) - 1
PTE_PFN = 0x000FFFFFFFFFF000


# What secretmem_test.c fills pages with.

def tag_of(seed):
    return ((seed * 0x9E3779B97F4A7C15 & MASK) >> 40) | 0x800001


def words_of(seed, page):
    tag = tag_of(seed) << 40
    for i in range(WORDS):
        x = (seed + (page * WORDS + i) * 0x9E3779B97F4A7C15) & MASK
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
        x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
        x ^= x >> 31
        yield struct.pack("<Q", tag | x & 0xFFFFFFFFFF)


def pick_seed(count=2):
    """The first of some seeds whose tags are nothing that memory is full of."""
    while True:
        seed = random.getrandbits(48)
        tags = {tag_of(seed + i).to_bytes(3, "little") for i in range(count)}
        if len(tags) == count and all(
                len(set(t)) == 3 and not set(t) & {0, 0x80, 0xFF}
                for t in tags):
            return seed


class Pattern:
    """Where the words of a seed's pages are in a dump."""

    def __init__(self, seed, pages):
        self.tag = tag_of(seed).to_bytes(3, "little")
        self.pages = pages
        self.index = {}
        for page in range(pages):
            for i, word in enumerate(words_of(seed, page)):
                self.index[word] = page * WORDS + i

    def find(self, mem):
        """[(address, word number)], by address."""
        hits = []
        tag, index = self.tag, self.index
        # In pieces that overlap, as bytes: mmap.find() of Python 3.11 may
        # read past the end of the map.
        step = 1 << 26
        for base in range(0, len(mem), step):
            piece = mem[max(base - 8, 0):base + step]
            shift = max(base - 8, 0)
            pos = piece.find(tag)
            while pos >= 0:
                number = index.get(piece[pos - 5:pos + 3]) \
                    if pos >= 5 else None
                hit = (shift + pos - 5, number)
                if number is not None and (not hits or hits[-1] < hit):
                    hits.append(hit)
                pos = piece.find(tag, pos + 1)
        return hits


class Dump:
    """A machine's memory, and its page tables."""

    def __init__(self, path, cr3, cr4):
        self.file = open(path, "rb")
        self.mem = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)
        self.root = cr3 & PTE_PFN
        self.levels = 5 if cr4 >> 12 & 1 else 4

    def has_direct_map(self, base, asi=False):
        """Under PTI a CPU in user mode has tables without: take the others,
        which are the page before. With asi=on it may have those with little of
        it."""
        slot = base >> 12 + 9 * (self.levels - 1) & 511
        if asi:
            self.root = self.ordinary_root(slot) or self.root
        elif not self.table(self.root)[slot] & 1:
            self.root &= ~0x1000

    def ordinary_root(self, slot):
        """With asi=on: of restricted page tables, which have a window where the
        others have none, the process's other top-level one, whose user half is
        the same, but not what it has in the direct map's slot. Else None."""
        table = window = self.table(self.root)
        if self.levels == 5:
            window = self.table(table[511])
        want = [(i, table[i] & PTE_PFN) for i in range(256) if table[i] & 1]
        if not window[509] & 1 or not want:
            return None
        for frame in range(len(self.mem) // PAGE):
            first, = struct.unpack_from("<Q", self.mem,
                                        frame * PAGE + want[0][0] * 8)
            if first & PTE_PFN != want[0][1]:
                continue
            other = struct.unpack_from("<512Q", self.mem, frame * PAGE)
            if (all(other[i] & PTE_PFN == entry for i, entry in want) and
                    other[slot] & 1 and
                    (other[slot] ^ table[slot]) & PTE_PFN):
                return frame * PAGE
        return None

    def close(self):
        self.mem.close()
        self.file.close()

    def table(self, entry):
        base = entry & PTE_PFN
        if base + PAGE > len(self.mem):
            return (0,) * 512
        return struct.unpack_from("<512Q", self.mem, base)

    def walk(self, virt):
        """The physical address behind a virtual one, or None."""
        entry = self.root
        for level in range(self.levels - 1, -1, -1):
            shift = 12 + 9 * level
            entry = self.table(entry)[virt >> shift & 511]
            if not entry & 1:
                return None
            if level == 0 or (level < 3 and entry >> 7 & 1):
                size = 1 << shift
                return (entry & PTE_PFN & ~(size - 1)) | virt & (size - 1)
        return None

    def unmapped(self, base):
        """The page frames that the direct map leaves out."""
        out = set()
        for first in range(0, len(self.mem), PAGE * 512):
            virt, entry = base + first, self.root
            for level in range(self.levels - 1, 0, -1):
                entry = self.table(entry)[virt >> 12 + 9 * level & 511]
                if not entry & 1 or (level < 3 and entry >> 7 & 1):
                    break
            frame = first // PAGE
            if not entry & 1:
                out.update(range(frame, frame + 512))
            elif level == 1 and not entry >> 7 & 1:
                out.update(frame + i for i, pte in
                           enumerate(self.table(entry)) if not pte & 1)
        return out


class Monitor:
    """QEMU's monitor on a unix socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        end = time.time() + 30
        while True:
            try:
                self.sock.connect(path)
                break
            except OSError:
                if time.time() > end:
                    raise
                time.sleep(0.05)
        self.answer()

    def answer(self):
        data = b""
        while not data.endswith(b"(qemu) "):
            part = self.sock.recv(65536)
            if not part:
                raise EOFError("QEMU is gone")
            data += part
        return data.decode(errors="replace")

    def __call__(self, command):
        self.sock.sendall(command.encode() + b"\n")
        return self.answer()


class Tap:
    def __init__(self):
        self.count = self.failed = 0
        print("TAP version 13")

    def __call__(self, good, text):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} {text}", flush=True)
        return good

    def end(self):
        print(f"1..{self.count}")
        print(f"# Totals: pass:{self.count - self.failed} "
              f"fail:{self.failed} xfail:0 xpass:0 skip:0 error:0")


def megabytes(size):
    factor = {"g": 1024, "m": 1}.get(size[-1].lower())
    return int(size[:-1]) * factor if factor else int(size)


def roomy(args):
    """Where two dumps fit: in memory, or else under build/."""
    need = 3 * megabytes(args.mem) << 20
    try:
        if shutil.disk_usage("/dev/shm").free > need and not args.keep:
            return "/dev/shm"
    except OSError:
        pass
    return args.build


def runs(found):
    """How many words follow their predecessor: a part of a copy. Single
    words are what was in the task's registers when it was interrupted."""
    return sum(b[0] - a[0] == 8 and b[1] - a[1] == 1
               for a, b in zip(found, found[1:]))


class Machine:
    """A guest whose console says "outside: ..." when it is to be looked at."""

    def __init__(self, args):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix="outside.", dir=roomy(args))
        self.log = os.path.join(self.dir, "console")
        self.dumping = 0            # seconds

    def boot(self, append, command, options=()):
        a = self.args
        self.read = 0               # how much of the console was read
        self.lines = []
        self.vm = subprocess.Popen(
            [os.path.join(ROOT, "scripts/vm"), "--name", a.name, "--quiet",
             "--kernel", a.kernel, "--mem", a.mem, "--log", self.log,
             "--timeout", str(a.timeout), "--append", append,
             "--monitor", os.path.join(self.dir, "monitor"), *options,
             "--", f"echo 5 >/proc/sys/kernel/printk; {command}"],
            stdin=subprocess.DEVNULL)
        self.monitor = Monitor(os.path.join(self.dir, "monitor"))

    def next_line(self):
        """The guest's next "outside:" line, None at the end."""
        while not self.lines:
            running = self.vm.poll() is None
            try:
                with open(self.log, errors="replace") as f:
                    f.seek(self.read)
                    text = f.read()
            except FileNotFoundError:
                text = ""
            text = text[:text.rfind("\n") + 1]
            self.read += len(text.encode(errors="replace"))
            self.lines = re.findall(r"outside: (.*)$", text, re.M)
            if not self.lines:
                if not running:
                    return None
                time.sleep(0.02)
        return self.lines.pop(0)

    def dump(self):
        """All of the memory of the machine, which is left stopped."""
        start = time.time()
        path = os.path.join(self.dir, "memory")
        self.monitor("stop")
        registers = self.monitor("info registers")
        size = megabytes(self.args.mem) << 20
        self.monitor(f'pmemsave 0 {size:#x} "{path}"')
        cr3, cr4 = (int(re.search(rf"CR{n}=([0-9a-f]+)", registers)[1], 16)
                    for n in (3, 4))
        self.dumping += time.time() - start
        return Dump(path, cr3, cr4)

    def clean(self):
        if getattr(self, "vm", None) and self.vm.poll() is None:
            self.vm.terminate()
            self.vm.wait()
        if self.args.keep:
            print(f"# kept: {self.dir}")
        else:
            shutil.rmtree(self.dir)
