# SPDX-License-Identifier: GPL-2.0
"""What moving and faulting secret pages and guest memory without a direct map costs."""
import bisect
import functools
import os
import re

import reduce
from reduce import get, number, per_page, ratio, setting

BATCHES = reduce.names("BATCHES")
GMEM_KINDS = reduce.names("GMEM_KINDS")
FIRST_MB = number("FIRST_MB")
PAGES = number("pages")
ROUNDS = number("rounds")
WORDS = setting("WORDS")
TOUCHED = PAGES * 4


# --- profiles -------------------------------------------------------------------

# Which step of a migration or fault a function belongs to: first match wins.
STEPS = [(re.compile(pattern), step) for pattern, step in (
    (r"^\(user", "user space"),
    (r"^\(movs|copy_mc|^memcpy|copy_page|ephmap_copy|_copy$", "copy"),
    (r"^\(stos|memset|ephmap_zero|clear_highpage|memzero", "zero"),
    (r"ephmap|temporary_mm|switch_mm|load_new_mm|build_cr3|write_cr3", "session"),
    (r"flush_tlb|tlb_flush|invlpg|range_flush|smp_call|on_each_cpu", "TLB flush"),
    (r"migrate_folio", "common path"),
    (r"direct_map|cpa|page_attr|lookup_address|static_protections", "direct map"),
    (r"set_memory|split_large|verify_rwx|pgprot_2_large|within_incl", "direct map"),
)]


def step_of(function):
    """The step of a function."""
    return next((step for pattern, step in STEPS if pattern.search(function)), "common path")


@functools.cache
def symbols(path):
    """Addresses and names of a System.map's functions. Addresses have equal widths: text
    compares as the numbers would."""
    found = {}
    for line in sorted(reduce.read(path)):
        address, kind, name = line.split()[:3]
        if kind in "tTwW":
            found.setdefault(address, name)
    return list(found), list(found.values())


@functools.cache
def profile(boot):
    """{function: (instructions, calls)} and {event: how many}, per page: of what
    bench/qemu/insn-profile.c counted in a guest. The former are in BOOT.functions, too."""
    # As secret.sh names them.
    kernel, tag = ("base", "fault") if boot == "profile-fault-base" else \
        ("kernel", "move" if "move" in boot else "fault")
    addresses, names = symbols(setting(f"{kernel}_map"))
    insns, calls, events = {}, {}, {}
    for line in reduce.left(f"{boot}.insns"):
        address, executed, event = line.split()
        executed = int(executed)
        # Inlined in many functions.
        if event in ("stos", "movs"):
            name = f"({event})"
        else:
            if event != "-":
                events[event] = events.get(event, 0) + executed
            if address < "8":
                name = "(user)"
            else:
                at = max(bisect.bisect_right(addresses, address) - 1, 0)
                name = names[at]
                if addresses[at] == address:
                    calls[name] = calls.get(name, 0) + executed
        insns[name] = insns.get(name, 0) + executed
    pages = reduce.count(boot, tag, "profiled_pages")
    # A figure is the sum of those that this file shows.
    functions = [(name, f"{insns[name] / pages:.2f}", f"{calls.get(name, 0) / pages:.3f}")
                 for name in insns]
    functions.sort(key=lambda f: (-float(f[1]), f))
    reduce.save(os.path.join(reduce.BENCH, f"{boot}.functions"), map(" ".join, functions))
    return ({name: (float(n), float(c)) for name, n, c in functions},
            {event: f"{n / pages:.2f}" for event, n in events.items()})


def event_of(boot, event):
    """How many, per page."""
    return profile(boot)[1].get(event, "0.00")


def flushes(kernel):
    """Of the kernel's TLB entries, per fault of a secret page."""
    functions = profile(f"profile-fault-{kernel}")[0]
    return f"{functions.get('flush_tlb_kernel_range', (0, 0))[1]:.3f}"


def unzeroed(kind):
    """Instructions of the release of a page, without what zeroing takes: (stos)."""
    functions = profile(f"profile-release-{kind}")[0]
    every = round(sum(insns for insns, _ in functions.values()), 1)
    return f"{every - round(functions.get('(stos)', (0, 0))[0], 1):.1f}"


def profile_rows():
    """The functions of a migration, beginning with those that make the largest
    difference."""
    secret, shmem = profile("profile-move-secret")[0], profile("profile-move-shmem")[0]
    rows = []
    for name in {**secret, **shmem}:
        a, b = secret.get(name, (0, 0)), shmem.get(name, (0, 0))
        if a[0] + b[0] >= 0.5:
            rows.append([name, step_of(name), f"{a[0]:.1f}", f"{a[1]:.3f}", f"{b[0]:.1f}",
                         f"{b[1]:.3f}"])
    return sorted(rows, key=lambda r: (-round(float(r[2]) - float(r[4]), 1), r[0]))


def profile_steps():
    """Rows of steps, with their sums."""
    steps = {step: [0, 0] for step in ("common path", "copy", "zero", "direct map",
                                       "TLB flush", "session", "user space")}
    for i, kind in enumerate(("secret", "shmem")):
        for name, (insns, _) in profile(f"profile-move-{kind}")[0].items():
            steps[step_of(name)][i] += insns
    # A sum is that of what profile.csv shows.
    steps = {step: [round(n, 1) for n in insns] for step, insns in steps.items()}
    for what, left_out in ("all", ()), ("all but copy and zero", ("copy", "zero")):
        steps[what] = [sum(insns[i] for step, insns in steps.items()
                           if step not in ("all", *left_out)) for i in (0, 1)]
    return [[step, f"{a:.0f}", f"{b:.0f}", f"{a - b:+.0f}"] for step, (a, b) in steps.items()]


def write_profile():
    """profile.csv, profile.md"""
    rows = reduce.save_csv("profile", ["function", "group", "secret_insns", "secret_calls",
                                       "shmem_insns", "shmem_calls"], profile_rows())
    reduce.save(reduce.out("profile.md"), [
        *reduce.header("# Where the instructions of a migration go", "on", "base"),
        *reduce.picture("profile"),
        "Every instruction of `move_pages(2)` in batches of 512 is counted by",
        "bench/qemu/insn-profile.c and charged to the function it belongs to;",
        "but what `rep movs` and `rep stos` do is (movs) and (stos),",
        "wherever they are. Instructions per page:",
        "",
        "| step | secretmem | shmem | difference |",
        "|---|--:|--:|--:|",
        *map(reduce.row, profile_steps()),
        "",
        "What such a count hides is that some instructions cost more than",
        "one. Those that change what the TLB holds, per page:",
        *reduce.table(["instruction", "move, secretmem", "move, shmem", "fault, secretmem",
                       "fault, secretmem, unpatched"], "lrrrr",
                      [[what, *(event_of(f"profile-{boot}", event)
                                for boot in ("move-secret", "move-shmem", "fault-on",
                                             "fault-base"))]
                       for what, event in (("write to CR3", "cr3"), ("invlpg", "invlpg"),
                                           ("invpcid", "invpcid"))]),
        "",
        "The functions that make the largest difference:",
        *reduce.table(["function", "step", "secretmem: insns", "calls", "shmem: insns", "calls"],
                      "llrrrr", rows[:20]),
    ])
    reduce.plot("profile")


# --- migration ------------------------------------------------------------------

def per_moved(boot, tag, counter):
    """Of a counter, per page."""
    return ratio(get(boot, tag, counter), get(boot, tag, "moved"))


def migration_row(batch):
    """In words and in bytes; then what was flushed."""
    cells = [batch]
    tag = f"move.secret.{batch}"
    for boot in "on-words", "on-move":
        secret = per_page(boot, tag, "round_tsc", PAGES)
        shmem = per_page(boot, f"move.shmem.{batch}", "round_tsc", PAGES)
        cells += [secret, shmem, ratio(secret, shmem)]
    return [*cells, per_moved("smp", tag, "direct_map_zap_shootdowns"),
            per_moved("on-move", tag, "ephmap_flushes")]


def write_migration():
    """migration.csv, migration.md"""
    rows = reduce.save_csv("migration", [
        "batch", "secret_words", "shmem_words", "ratio_words", "secret_bytes", "shmem_bytes",
        "ratio_bytes", "shootdowns_2cpus", "flushes"], map(migration_row, BATCHES))
    reduce.save(reduce.out("migration.md"), [
        *reduce.header("# What it costs to move a secret page", "on", "base"),
        *reduce.picture("migration"),
        f"`move_pages(2)`, {PAGES} pages between two nodes, the median of",
        f"the last {ROUNDS // 2} of {ROUNDS} rounds; the whole system",
        "call and the loop around it count. In words: a page is zeroed in 512",
        f"steps, and copied 8 bytes at a time ({WORDS}).",
        "In bytes: both take 4096 steps. Shootdowns:",
        "kernel TLB shootdowns to take memory out of the direct map, from",
        "/proc/vmstat in a guest with two CPUs. Window pages: mapped for a copy",
        "or to zero, and flushed again, on one CPU; by one write to CR3 for all",
        "pages of a session where there are no PCIDs, as here.",
        *reduce.table(["pages per call", "words: secretmem, insns per page", "shmem", "ratio",
                       "bytes: secretmem", "shmem", "ratio", "shootdowns per page",
                       "window pages per page"], "rrrrrrrrr", rows),
    ])
    reduce.plot("migration")
    return rows


# --- faults ---------------------------------------------------------------------

def touched(boot, tag, keys):
    """Instructions per page; of keys the sum."""
    insns = 0
    for key in keys:
        key = f"round_{key}_tsc"
        if tag.startswith("first."):
            first = boot.replace("on", "first")
            pages = reduce.count(first, tag, "pages")
            more = f"{reduce.count(first, tag, key) / 2 / pages:g}"
        else:
            more = per_page(boot, tag, key, TOUCHED)
        insns = round(insns + float(more), 1)
    return f"{insns:.1f}"


def beside(what, secret_tag, shmem_tag, *keys):
    """What secret pages cost beside shmem, in words and in bytes; of keys the sum. Shmem
    as it is without secrets: before there were any."""
    cells = [what]
    for boot in "on-words", "on":
        secret = touched(boot, secret_tag, keys)
        shmem = touched(boot, shmem_tag, keys)
        cells += [secret, shmem, ratio(secret, shmem)]
    return cells


def write_beside():
    """fault-shmem.csv"""
    secret, shmem = unzeroed("secret"), unzeroed("shmem")
    first, some, used = "first.most", "first.some", "fault.secret"
    return reduce.save_csv("fault-shmem", [
        "what", "secret_words", "shmem_words", "ratio_words", "secret_bytes", "shmem_bytes",
        "ratio_bytes"], [
            beside(f"touch: first use of {FIRST_MB} MB", first, "first.shmem", "touch"),
            beside(f"touch: first use of {PAGES // 64} MB", some, "fault.shmem", "touch"),
            beside("touch: blocks used before", used, "fault.shmem", "touch"),
            beside("release", used, "fault.shmem", "release"),
            beside(f"touch and release: first use of {FIRST_MB} MB", first, "first.shmem",
                   "touch", "release"),
            beside("touch and release: blocks used before", used, "fault.shmem",
                   "touch", "release"),
            ["release without zeroing", *[secret, shmem, ratio(secret, shmem)] * 2],
        ])


def compare(kind, what, tag, key, pages):
    """The same work in all kernels."""
    base, off, on = (per_page(boot, tag, key, pages) for boot in ("base", "off", "on"))
    return [kind, what, base, off, on, ratio(off, base, 4), ratio(on, base, 4)]


def write_fault(by_shmem):
    """fault.csv, fault.md"""
    rows = reduce.save_csv("fault", ["kind", "part", "base", "off", "on", "off_ratio",
                                     "on_ratio"], [
        *(compare(kind, key, f"fault.{kind}", f"round_{key}_tsc", TOUCHED)
          for kind in reduce.names("FAULT_KINDS") for key in ("touch", "release")),
        *(compare("shmem", f"move_pages by {batch}", f"move.shmem.{batch}", "round_tsc", PAGES)
          for batch in ("1", "512"))])
    reduce.save(reduce.out("fault.md"), [
        *reduce.header("# What a page fault costs, and what ephmap=off costs", "on", "base"),
        *reduce.picture("fault"),
        f"First touch of {TOUCHED} pages, then munmap and close; the median",
        f"of the last {ROUNDS // 2} of {ROUNDS} rounds. Instructions per page.",
        *reduce.table(["memory", "what", "unpatched", "ephmap=off", "ephmap", "off / unpatched",
                       "ephmap / unpatched"], "llrrrrr", rows),
        "",
        "Secret pages beside shmem, with the ephmap. In words: a page is zeroed in",
        f"512 steps ({WORDS});",
        "in bytes: in 4096. Shmem is as it is before there were secrets. It",
        "is zeroed when it is touched, secret memory when its block leaves the",
        "direct map (first use) and when it is released. Blocks leave it up to 8",
        f"at a time, those that are not used yet among them: of {FIRST_MB} MB that is",
        f"next to nothing, of {PAGES // 64} MB it is "
        f"{get('first', 'first.some', 'touch_secret_block_hide')} blocks for {PAGES // 128}. "
        "The last row is",
        "counted by bench/qemu/insn-profile.c, less the steps of",
        "`rep stos`.",
        *reduce.table(["what", "words: secretmem", "shmem", "ratio", "bytes: secretmem", "shmem",
                       "ratio"], "lrrrrrr", by_shmem),
        "",
        "Kernel TLB flushes (calls of flush_tlb_kernel_range) per fault of",
        f"a secret page: unpatched {flushes('base')}, ephmap {flushes('on')}.",
    ])
    reduce.plot("fault")
    return rows


# --- guest_memfd ----------------------------------------------------------------

def gmem_row(what, tag, key, pages, shootdowns, suffix=""):
    """The same work with and without a direct map. SHOOTDOWNS counts what they do in a
    guest with two CPUs."""
    plain = per_page("gmem", f"{tag}.gmem{suffix}", key, pages)
    hidden = per_page("gmem", f"{tag}.gmem-hidden{suffix}", key, pages)
    tag = f"{tag}.gmem-hidden{suffix}"
    return [what, plain, hidden, ratio(hidden, plain),
            ratio(get("gmem-smp", tag, f"{shootdowns}direct_map_zap_shootdowns"),
                  get("gmem-smp", tag, "pages"))]


def gmem_words(batch):
    """Instructions per page moved, where copying takes 8 bytes a step."""
    plain, hidden = (per_page("gmem-words", f"move.{kind}.{batch}", "round_tsc", PAGES)
                     for kind in GMEM_KINDS)
    return [plain, hidden, ratio(hidden, plain)]


def write_guest_memfd():
    """guest_memfd.csv, guest_memfd.md"""
    rows = reduce.save_csv("guest_memfd", ["what", "plain_insns", "hidden_insns", "ratio",
                                           "shootdowns_2cpus"], [
        gmem_row("fallocate", "load", "round_fallocate_tsc", TOUCHED, "fallocate_"),
        gmem_row("fallocate and first use", "load", "round_populate_tsc", TOUCHED, "populate_"),
        gmem_row("first touch", "fault", "round_touch_tsc", TOUCHED, "touch_"),
        gmem_row("copy to a mapping", "load", "round_memcpy_tsc", TOUCHED, "memcpy_"),
        gmem_row("release", "fault", "round_release_tsc", TOUCHED, "release_"),
        *(gmem_row(f"move_pages by {batch}", "move", "round_tsc", PAGES, "", f".{batch}")
          for batch in BATCHES)])
    copy, write = (per_page("gmem", "load.gmem-hidden", f"round_{key}_tsc", TOUCHED)
                   for key in ("memcpy", "write"))
    reduce.save(reduce.out("guest_memfd.md"), [
        *reduce.header("# What guest memory without a direct map costs", "on", "base"),
        *reduce.picture("guest_memfd"),
        "guest_memfd with GUEST_MEMFD_FLAG_MOVABLE, without and with",
        f"GUEST_MEMFD_FLAG_NO_DIRECT_MAP; {TOUCHED} pages ({PAGES} for move_pages),",
        f"the median of the last {ROUNDS // 2} of {ROUNDS} rounds.",
        "Instructions per page. Shootdowns: to remove pages from the direct",
        "map, from /proc/vmstat in a guest with two CPUs, per page of which",
        "one round counts (all rounds for move_pages).",
        *reduce.table(["what", "with direct map", "without", "ratio", "shootdowns per page"],
                      "lrrrr", rows),
        "",
        "Loading a page of data into memory without a direct map:",
        f"{copy} instructions by copying to a mapping, {write} by write(2),",
        f"which is {ratio(write, copy)} of it.",
        "",
        "Above, copying and zeroing a page count 4096 instructions each: with",
        "ERMS the kernel uses `rep movsb` and `rep stosb`, whose steps are",
        f"bytes here. Without it ({WORDS})",
        "8 bytes are copied at a time, and what it takes to move a page weighs more:",
        *reduce.table(["what", "with direct map", "without", "ratio"], "lrrr",
                      [[f"move_pages by {batch}", *gmem_words(batch)] for batch in BATCHES]),
        "",
        "How long a vCPU waits for a page that is being moved: the longest",
        f"access while {get('gmem-smp', 'guest.gmem-hidden', 'pages')} pages moved "
        "and the guest went",
        "over its memory again and again, and before. Ticks of an emulated",
        "TSC, wall time: on this host only, and compared with each other.",
        *reduce.table(["memory", "pages moved", "passes over it", "longest, at rest",
                       "longest, moving", "wrong words"], "lrrrrr",
                      [[kind, *(get("gmem-smp", f"guest.{kind}", key)
                                for key in ("moved", "passes", "quiet_longest_tsc", "longest_tsc",
                                            "wrong"))] for kind in GMEM_KINDS]),
    ])
    reduce.plot("guest_memfd")
    return rows


# --- goals ----------------------------------------------------------------------

def check():
    """That figures are of what they say they are."""
    for batch in BATCHES:
        for boot in "on-move", "on-words":
            reduce.check_moved(boot, f"move.secret.{batch}")
            reduce.check_moved(boot, f"move.shmem.{batch}")
        reduce.check_moved("smp", f"move.secret.{batch}")
        for boot in "gmem", "gmem-words", "gmem-smp":
            for kind in GMEM_KINDS:
                reduce.check_moved(boot, f"move.{kind}.{batch}")
    for kind in GMEM_KINDS:
        reduce.check_moved("gmem-smp", f"guest.{kind}")
    # That a first use is one, and a second one is not.
    for boot in "first", "first-words":
        for tag in "first.most", "first.some":
            hidden = reduce.count(boot, tag, "touch_secret_block_hide")
            if hidden * 512 < reduce.count(boot, tag, "pages"):
                reduce.die(1, f"{boot}, {tag}: {hidden} blocks were hidden")
    for boot in "on", "on-words":
        hidden = sum(reduce.late(boot, "fault.secret", "touch_secret_block_hide", ROUNDS))
        if hidden:
            reduce.die(1, f"{boot}: second use: {hidden} blocks were hidden")


def judge_migration(goals, rows):
    """Of migration.csv."""
    for r in rows:
        if int(r["batch"]) >= 64:
            goals.judge(f"migration, {r['batch']} pages per call: shootdowns per page",
                        r["shootdowns_2cpus"], "at most 1/256", most=1 / 256)
        if r["batch"] == "512":
            goals.judge("migration, 512 pages per call, copied by word: secretmem / shmem",
                        r["ratio_words"], "at most 1.2", most=1.2)
            goals.note("the same, copied by byte", r["ratio_bytes"])


def judge_beside(goals, rows):
    """Of fault-shmem.csv."""
    for r in rows:
        words = r["ratio_words"]
        if r["what"] == f"touch: first use of {FIRST_MB} MB":
            goals.judge("fault of a secret page, first use, zeroed by byte: secretmem / shmem",
                        r["ratio_bytes"], "at most 1.05", most=1.05)
            goals.aim("the same, zeroed by word", words, "at most 1.05", most=1.05)
        elif r["what"] == "touch: blocks used before":
            goals.judge("fault of a secret page, blocks used before, by byte: secretmem / shmem",
                        r["ratio_bytes"], "at most 0.8", most=0.8)
            goals.aim("the same, zeroed by word", words, "at most 0.8", most=0.8)
        elif r["what"] == "release without zeroing":
            goals.judge("release of a secret page without zeroing: secretmem / shmem", words,
                        "at most 1.0", most=1.0)


def judge_fault(goals, rows):
    """Of fault.csv."""
    for r in rows:
        kind, part = r["kind"], r["part"]
        if part == "release":
            continue
        if (kind, part) == ("secret", "touch"):
            goals.judge("fault of a secret page: patched / unpatched", r["on_ratio"],
                        "at most 1.05", most=1.05)
        if part != "touch":
            goals.judge(f"ephmap / ephmap=off: {kind}, {part}", ratio(r["on"], r["off"], 4),
                        "at most 0.1 % more", most=1.001)
            goals.aim(f"ephmap / unpatched: {kind}, {part}", r["on_ratio"],
                      "at most 0.1 % more", most=1.001)
        part = part.replace("touch", "page fault")
        goals.judge(f"ephmap=off / unpatched: {kind}, {part}", r["off_ratio"],
                    "1 within 0.5 %", least=0.995, most=1.005)


def judge_guest_memfd(goals, rows):
    """Of guest_memfd.csv."""
    for r in rows:
        what = r["what"]
        if what == "fallocate and first use":
            goals.judge(f"guest_memfd, {what}: without direct map / with", r["ratio"],
                        "at most 1.25", most=1.25)
        if what in ("fallocate and first use", "first touch"):
            goals.judge(f"guest_memfd, {what}: shootdowns per page", r["shootdowns_2cpus"],
                        "at most 1/256", most=1 / 256)
        if what == "move_pages by 512":
            goals.judge(f"guest_memfd, {what}: without direct map / with, copied by word",
                        gmem_words("512")[2], "at most 1.5", most=1.5)
            goals.note("the same, copied by byte, 4096 to a page", r["ratio"])


def main():
    """Tables and plots, then goals."""
    check()
    goals = reduce.Goals()
    migration = write_migration()
    by_shmem = write_beside()
    fault = write_fault(by_shmem)
    write_profile()
    guest_memfd = write_guest_memfd()
    judge_migration(goals, migration)
    judge_beside(goals, by_shmem)
    judge_fault(goals, fault)
    judge_guest_memfd(goals, guest_memfd)
    goals.judge("kernel TLB flushes per fault of a secret page", flushes("on"), "at most 1/256",
                most=1 / 256)
    goals.note("the same, unpatched", flushes("base"))
    goals.save("secret", "on", "base")


main()
