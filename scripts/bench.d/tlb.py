# SPDX-License-Identifier: GPL-2.0
"""TLB misses, by a model."""
import functools

import reduce
from reduce import count, number, ratio, setting

WORKS = reduce.pairs("ASI_WORKS") | reduce.pairs("TLB_WORKS")
ROUNDS = number("tlb_rounds")
LATE = ROUNDS + 1 - ROUNDS // 2
SETTINGS = ("off", "on")
UNITS = """\
Misses are those of a model, in a guest without PCIDs, per operation.
  Walks: of both levels, for data and instructions."""

# What is in tlb.csv, of asi=off and asi=on, and with a PCID for each root, which the
# guest has not.
COLUMNS = ("l1_data l1_code walks_data walks_code walks_large levels invlpg cr3 returns "
           "to_user indirect").split()
PCID_COLUMNS = "l1_data l1_code walks_data walks_code levels".split()


@functools.cache
def model(asi, which):
    """{work: {column: (mean, last)}}, by bench/qemu/tlb-model.c: per operation, the mean of
    the second half of the rounds, as tlb.csv has it; and all of the last round, which is that
    of the kernel's counters. Its lines are of no names: the guest's report has the order."""
    boot = f"tlb-{asi}"
    columns, *lines = (line.split(",") for line in reduce.left(f"{boot}.{which}"))
    ops = {key.removesuffix("_ops"): int(values[-1])
           for key, values in reduce.reports(boot).get("asi", {}).items() if key.endswith("_ops")}
    if not ops or len(lines) != len(ops) * (ROUNDS + 1):
        reduce.die(1, f"guest {boot}: the model counted {len(lines)} rounds of {len(ops)} "
                   "operations")
    found = {}
    for i, work in enumerate(ops):
        rounds = lines[i * (ROUNDS + 1):(i + 1) * (ROUNDS + 1)]
        found[work] = {column: (f"{sum(map(int, counts[-LATE:])) / LATE / ops[work]:.4f}",
                                int(counts[-1]))
                       for column, *counts in zip(columns, *rounds)}
    return found


def modelled(asi, work, *columns):
    """Per operation, of all columns."""
    return f"{sum(float(model(asi, 'tlb')[work][column][0]) for column in columns):.3f}"


def insns(asi, work):
    """Instructions per operation."""
    ops = count(f"tlb-{asi}", "asi", f"{work}_ops")
    return f"{reduce.late_insns(f'tlb-{asi}', 'asi', f'round_{work}_tsc', ROUNDS, ops):.2f}"


def kernel(work, counter):
    """What the kernel counted with asi=on, per operation."""
    return ratio(count("tlb-on", "asi", f"{work}_{counter}"),
                 count("tlb-on", "asi", f"{work}_ops"))


def figures():
    """Rows of tlb.csv."""
    for work, what in WORKS.items():
        cells = [what, *(insns(asi, work) for asi in SETTINGS),
                 *(kernel(work, counter)
                   for counter in ("exits_fault", "flushes", "hits", "parked"))]
        for asi in SETTINGS:
            cells += [model(asi, "tlb")[work][column][0] for column in COLUMNS]
            cells += [model(asi, "pcid")[work][column][0] for column in PCID_COLUMNS]
        yield cells


def table(head, columns, rows):
    """These of tlb.csv. walks_*: of data and code; hits_*: of the second level."""
    def cell(r, column):
        prefix = "pcid_" if column.startswith("pcid_") else ""
        what, _, asi = column.removeprefix(prefix).rpartition("_")

        def both(of):
            return sum(float(r[f"{prefix}{of}_{kind}_{asi}"]) for kind in ("data", "code"))

        if column in r:
            value = float(r[column])
        else:
            value = both("l1") - both("walks") if what == "hits" else both("walks")
        return f"{value:.3f}".replace("-0.000", "0.000")

    return reduce.table(head, "l" + "r" * len(columns),
                        [[r["what"], *(cell(r, column) for column in columns)] for r in rows])


def write():
    """tlb.csv, tlb.md"""
    head = ["what", "insns_off", "insns_on", "exits", "shootdowns", "hits", "parked"]
    for asi in SETTINGS:
        head += [f"{column}_{asi}" for column in COLUMNS]
        head += [f"pcid_{column}_{asi}" for column in PCID_COLUMNS]
    rows = reduce.save_csv("tlb", head, figures())
    reduce.save(reduce.out("tlb.md"), [
        *reduce.header("# TLB misses, by a model", "tlb-on", units=UNITS),
        "Not measured on hardware: what an operation of bench/asi.c does to a model of",
        "a TLB (bench/qemu/tlb-model.c) that QEMU fills with the guest's accesses.",
        "Sizes are those of Skylake-SP: 64 entries of 4 ways for data in 4 KB pages,",
        "32 of 4 for 2 MB, 4 for 1 GB; 128 of 8 ways for instructions in 4 KB pages, 8",
        "for 2 MB; and 1536 of 12 ways for both, and 16 of 4 for 1 GB. Per operation:",
        f"the mean of the last {LATE} of {ROUNDS + 1} rounds. In those of *always fresh*",
        "there are ticks of the timer, and drains of the window. "
        f"With {setting('WORDS')}.",
        "",
        "Hits of the second level are misses of the first. A walk is a miss of both.",
        "Entries: what walks read of page tables where nothing of it is in",
        "paging-structure caches. Without PCIDs, as in this guest.",
        *table(["operation", "insns, off", "on", "L2 hits, off", "on", "walks: data, off", "on",
                "walks: code, off", "on", "entries, off", "on", "INVLPG, off", "on", "CR3, off",
                "on"],
               ["insns_off", "insns_on", "hits_off", "hits_on", "walks_data_off", "walks_data_on",
                "walks_code_off", "walks_code_on", "levels_off", "levels_on", "invlpg_off",
                "invlpg_on", "cr3_off", "cr3_on"], rows),
        "",
        "If each top-level page table had a PCID, and a write to CR3 flushed only",
        "where it loads again what is loaded. The guest's kernel does what it does on",
        "a CPU without PCIDs, so that this is the lower bound.",
        *table(["operation", "L2 hits, off", "on", "walks, off", "on", "entries, off", "on"],
               ["pcid_hits_off", "pcid_hits_on", "pcid_walks_off", "pcid_walks_on",
                "pcid_levels_off", "pcid_levels_on"], rows),
        "",
        "What other mitigations would be at, and what the kernel's window did:",
        *table(["operation", "returns to user mode", "returns, off", "on",
                "indirect branches, off", "on", "pages parked", "copies that hit"],
               ["to_user_on", "returns_off", "returns_on", "indirect_off", "indirect_on",
                "parked", "hits"], rows),
    ])


def judge(goals):
    """The model itself, and what it saw of flushes."""
    # What fits, what fits the second level, what does not.
    for asi in SETTINGS:
        goals.judge(f"asi={asi}: walks per access, 32 pages in turn",
                    modelled(asi, "touch_32", "walks_data"), "at most 0.01", most=0.01)
        goals.judge("the same, misses of the first level", modelled(asi, "touch_32", "l1_data"),
                    "at most 0.01", most=0.01)
        goals.judge(f"asi={asi}: walks per access, 512 pages in turn",
                    modelled(asi, "touch_512", "walks_data"), "at most 0.05", most=0.05)
        goals.judge("the same, misses of the first level", modelled(asi, "touch_512", "l1_data"),
                    "1 within 0.02", least=0.98, most=1.02)
        # Up to 1536 of 16384 are left of when the pages were written first.
        goals.judge(f"asi={asi}: walks per access, 4096 pages in turn",
                    modelled(asi, "touch_4096", "walks_data"), "0.9 to 1.01", least=0.9, most=1.01)
    # The kernel counts its own.
    for work in "read_4k_few", "write_4k", "fault_anon", "fault_cow":
        more = model("on", "tlb")[work]["invlpg"][1] - \
            count("tlb-on", "asi", f"{work}_window_flushed")
        goals.judge(f"asi=on: INVLPG seen, less those the kernel counted: {work}", more, "0",
                    least=0, most=0)
    for asi in SETTINGS:
        for work in "read_4k_few", "read_4k_fresh", "fault_anon", "switch_mm_eventfd":
            goals.judge(f"asi={asi}: accesses to what was not mapped: {work}",
                        modelled(asi, work, "unwalked"), "at most 0.01", most=0.01)
    for work, what in WORKS.items():
        goals.note(f"walks, asi=off / asi=on: {what}",
                   " / ".join(modelled(asi, work, "walks_data", "walks_code") for asi in SETTINGS))


def main():
    """The tables, then goals."""
    if count("tlb-on", "asi", "asi") != 1:
        reduce.die(1, "guest tlb-on runs without ASI")
    write()
    goals = reduce.Goals()
    judge(goals)
    goals.save("tlb", "tlb-on", units=UNITS)


main()
