# SPDX-License-Identifier: GPL-2.0
"""What Address Space Isolation costs."""
import reduce
from reduce import count, number, ratio, setting

WORKS = reduce.pairs("ASI_WORKS")
ROUNDS = number("asi_rounds")
SECRETS = number("asi_secrets")

# Columns of asi.csv, and what they are the sum of.
COUNTERS = {
    "exits_fault": ["exits_fault"],
    "exits_switch": ["exits_switch"],
    "enters": ["enters", "reenters"],
    "switches": ["switches"],
    "cr3_added": ["enters", "reenters", "exits_fault", "exits_asked"],
    "shootdowns": ["flushes"],
    "pages_flushed": ["window_flushed"],
    "policy_flushes": ["flushed_ibpb", "flushed_rsb", "flushed_verw", "flushed_l1d"],
    "parked": ["parked"],
    "hits": ["hits"],
    "drains": ["drains_full", "drains_switch", "drains_idle", "drains_time", "drains_asked"],
}


def insns(boot, work):
    """Instructions per operation."""
    ops = count(f"asi-{boot}", "asi", f"{work}_ops")
    return f"{reduce.late_insns(f'asi-{boot}', 'asi', f'round_{work}_tsc', ROUNDS, ops):.2f}"


def counted(work, counters):
    """Per operation, with asi=on; of all counters."""
    return ratio(sum(count("asi-on", "asi", f"{work}_{counter}") for counter in counters),
                 count("asi-on", "asi", f"{work}_ops"))


def figures():
    """Rows of asi.csv."""
    for work, what in WORKS.items():
        base, off, on, secrets = (insns(boot, work) for boot in ("base", "off", "on", "secrets"))
        yield [what, base, off, on, ratio(off, base, 4), ratio(on, base, 4),
               *(counted(work, counters) for counters in COUNTERS.values()),
               secrets, ratio(secrets, off, 4)]


def write():
    """asi.csv, asi.md"""
    rows = reduce.save_csv("asi", ["work", "base", "off", "on", "off_ratio", "on_ratio", *COUNTERS,
                                   "off_secrets", "secrets_ratio"], figures())

    def pick(*columns):
        return [[r[column] for column in columns] for r in rows]

    reduce.save(reduce.out("asi.md"), [
        *reduce.header("# What Address Space Isolation costs", "asi-on", "asi-base"),
        *reduce.picture("asi"),
        "QEMU -icount instructions, not hardware time, per operation: the",
        f"median of the last {ROUNDS // 2} of {ROUNDS} rounds,",
        "none of which has a timer tick in it (bench/asi.c), in a guest",
        "with one CPU that has no PCIDs. With",
        f"`{setting('WORDS')}`, so that",
        "zeroing a page is 512 steps, not 4096, copying it no more than 1600, and",
        "both hide less of the rest. This CPU has no IBPB, so that on an exit the return",
        "stack is filled: about 150 of the instructions of each. A CPU",
        "with IBPB takes a single one, which takes far longer.",
        "",
        "Where asi=off takes less than the unpatched kernel: with ASI built",
        "in, the division on the way to user mode, for CPUs with",
        "X86_BUG_DIV0, is out of line with its operands, which is 3",
        "instructions; and what was patched is inlined otherwise. A10 wants",
        "the same count within 0.1 %: judged is that it is not more.",
        *reduce.table(["operation", "unpatched", "asi=off", "asi=on", "off / unpatched",
                       "on / unpatched"], "lrrrrr",
                      pick("work", "base", "off", "on", "off_ratio", "on_ratio")),
        "",
        "What one operation does with asi=on, from",
        "/sys/kernel/debug/asi/stats. Each exit, each enter and each switch",
        "is a write to CR3, which flushes the TLB where there are no PCIDs.",
        "Exits to init_mm and switches are writes that there are without",
        "ASI as well: what is added is one for each exit by a fault and",
        "for each enter. Shootdowns: of the direct map, when a block of",
        "memory becomes the users'. Pages: mapped in the window for one",
        "copy, and flushed. Policy: what asi_flush=auto has flushed, here",
        "the return stack. Parked: pages that stay mapped in the window, for",
        "10 ms at most; hits: copies from those; drains: how often all of",
        "them were unmapped, by one flush.",
        *reduce.table(["operation", "exits by a fault", "exits to init_mm", "enters",
                       "switches of mm", "writes to CR3 added", "shootdowns", "pages flushed",
                       "flushes by policy", "parked", "hits", "drains"], "lrrrrrrrrrrr",
                      pick("work", *COUNTERS)),
        "",
        f"With asi=off, while another process has {SECRETS} MB of secret memory",
        "that it does not touch: the page allocator looks at who can see a",
        "page from the first secret file on.",
        *reduce.table(["operation", "asi=off", "the same, with secrets elsewhere", "ratio"], "lrrr",
                      pick("work", "off", "off_secrets", "secrets_ratio")),
    ])
    reduce.plot("asi")
    return rows


def check():
    """Without ASI nothing would be left, and that a switch is one is assumed."""
    if count("asi-on", "asi", "asi") != 1:
        reduce.die(1, "guest asi-on runs without ASI")
    secrets = count("asi-secrets", "asi", "secrets")
    if secrets != SECRETS * 256:
        reduce.die(1, f"guest asi-secrets has {secrets} secret pages")
    for boot in "asi-base", "asi-off", "asi-on", "asi-secrets":
        for work in WORKS:
            if not work.startswith("switch_"):
                continue
            switches, ops = (count(boot, "asi", f"{work}_{key}") for key in ("ctxt", "ops"))
            if not ops * 98 <= switches * 100 <= ops * 102:
                reduce.die(1, f"{boot}, {work}: {switches} switches, not {ops}")


def judge(goals, rows):
    """Of asi.csv."""
    for r in rows:
        what = r["work"]
        goals.judge(f"asi=off / unpatched: {what}", r["off_ratio"],
                    "at most 0.1 % more", most=1.001)
        goals.judge("the same, secrets elsewhere / none", r["secrets_ratio"],
                    "at most 0.1 % more", most=1.001)
        if what == "getppid":
            goals.judge(f"asi=on / unpatched: {what}", r["on_ratio"], "at most 1.02", most=1.02)
        if what == "getppid" or what.startswith("switch of threads"):
            exits = float(r["exits_fault"]) + float(r["exits_switch"])
            goals.judge(f"asi=on: exits per {what}", f"{exits:g}", "0", least=0, most=0)


def main():
    """The table and plot, then goals."""
    check()
    goals = reduce.Goals()
    judge(goals, write())
    goals.save("asi", "asi-on", "asi-base")


main()
