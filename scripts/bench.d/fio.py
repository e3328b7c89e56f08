# SPDX-License-Identifier: GPL-2.0
"""What Address Space Isolation costs fio."""
import os

import reduce
from reduce import count, get, number, ratio, setting

CR3 = ["enters", "reenters", "exits_fault", "exits_asked"]


def tags(*processes):
    """FILE-SYSTEM.JOB.PROCESSES of all jobs, in this order."""
    return [f"{fs}.{job}.{jobs}" for fs in reduce.names("FIO_FS")
            for job in reduce.names("FIO_JOBS") for jobs in processes]


def insns(kind, tag):
    """Of all of fio, for a read or write."""
    return f"{1e9 / 2 / count(f'fio-{kind}', tag, 'iops'):.0f}"


def call(kind, tag):
    """Of the system call; fio reads the clock around it."""
    return ratio(get(f"fio-{kind}", tag, "call_ns"), 2, 0)


def counted(kind, tag, *counters):
    """Of all of these, for a read or write."""
    events = sum(count(f"fio-{kind}", tag, counter) for counter in counters)
    # The run that is subtracted may have had one more.
    return ratio(max(events, 0), get(f"fio-{kind}", tag, "ios"))


def best(kind, tag):
    """IOPS with two CPUs: what disturbs makes it less."""
    return max(map(int, reduce.values(f"fio-smp-{kind}", tag, "iops")))


def iops(tag):
    """With asi=on, beside asi=off."""
    return ratio(get("fio-on", tag, "iops"), get("fio-off", tag, "iops"))


def check_errors(boot, tag):
    """What did not work has no cost."""
    if any(int(errors) for errors in reduce.values(boot, tag, "error")):
        reduce.die(1, f"{boot}, {tag}: errors")


def figures():
    """Rows of fio.csv."""
    for tag in tags(1, 2):
        jobs = tag.rpartition(".")[2]
        calls, smp = ["", ""], ""
        if jobs == "1":
            calls = [call(kind, tag) for kind in ("off", "on")]
        elif not setting("one_cpu"):
            smp = ratio(best("on", tag), best("off", tag), 2)
        yield [*tag.split("."), insns("off", tag), insns("on", tag), iops(tag), *calls, smp,
               counted("on", tag, "exits_fault"), counted("on", tag, *CR3),
               counted("on", tag, "parked"), counted("on", tag, "hits"),
               counted("on", tag, "window_flushed")]


# --- threads: a part of fio.md, of guests of their own -------------------------

THREADS_TITLE = "## Threads of one process"


def threads_section():
    """Of fio.md, from fio-threads.csv."""
    path = reduce.out("fio-threads.csv")
    emulator = reduce.read(path)[0].removeprefix("# ")
    return [
        THREADS_TITLE, "",
        "- Command: `scripts/bench --only threads`",
        f"- {emulator}", "",
        "The same jobs with `thread`, on four CPUs. Per read or write: IPIs, which",
        "are flushes that another CPU asked for (TLB in /proc/interrupts, each CPU",
        "that received one); pages parked in the window; copies from parked pages; pages",
        "flushed one by one, on the CPU itself; exits from the restricted address space.",
        "IOPS as above: what emulation takes, with fewer CPUs in the host than in the",
        "guest, so that an IPI waits until the host runs the CPU it is for.",
        *reduce.table(["file system", "job", "threads", "off: IPIs", "on: IPIs", "on: parked",
                       "on: hits", "on: pages flushed", "on: exits", "IOPS, on / off"],
                      "llrrrrrrrr", reduce.read_csv(path)),
    ]


# --- results --------------------------------------------------------------------

def write():
    """fio.csv, fio.md"""
    columns = ("fs job jobs off on on_iops call_off call_on smp_on_iops exits_per_io_on "
               "cr3_on parked_on hits_on flushed_on").split()
    rows = [list(r.values()) for r in reduce.save_csv("fio", columns, figures())]
    threads = []
    if os.path.exists(reduce.out("fio-threads.csv")):
        threads = ["", *threads_section()]
    reduce.save(reduce.out("fio.md"), [
        *reduce.header("# What Address Space Isolation costs fio", "fio-on"),
        *reduce.picture("fio"),
        "bench/fio/*.fio: psync, files of 16 MB that are in the page cache;",
        f"ext4 on a virtio disk, with nothing written back meanwhile. With {setting('WORDS')},",
        "so that a page is copied 8 bytes at a time, not byte by byte.",
        "",
        "One CPU, under -icount: instructions per read or write, all that fio",
        "does for it included, from its IOPS, whose clock has milliseconds: to",
        "0.5 %; and those of the system call alone. There are no PCIDs, and no",
        "IBPB: see [asi](asi.md).",
        *reduce.table(["file system", "job", "processes", "off", "on", "IOPS, on / off",
                       "call: off", "call: on", "call, on / off"], "llrrrrrrr",
                      [[*r[:8], ratio(r[7], r[6]) if r[6] else ""] for r in rows]),
        "",
        "ext4 has large folios here: a session for many pages, which are",
        "copied as one piece, where asi=off copies page by page.",
        "",
        f"Two CPUs, TCG, wall time: the best IOPS of {number('fio_repeat')} runs of two processes,",
        "compared with asi=off; --one-cpu leaves it out. This is what emulation",
        "takes, not hardware: at each write to CR3 and each INVLPG the emulator",
        "forgets all it knows of addresses, in the guest's user mode as well. And",
        "it depends on what else the host does. Then, what was counted per read or",
        "write on one CPU: exits from the restricted address space, writes to CR3",
        "that ASI adds, pages parked in the window, copies from parked pages (hits),",
        "and pages flushed by INVLPG.",
        *reduce.table(["file system", "job", "processes", "2 CPUs, on / off", "exits", "CR3",
                       "parked", "hits", "pages flushed"], "llrrrrrrr",
                      [r[:3] + r[8:] for r in rows]),
        *threads,
    ])
    reduce.plot("fio")


def judge(goals):
    """What is wanted of asi=on."""
    for tag in tags(1, 2):
        what = tag.replace(".", ", ")
        goals.judge(f"fio, asi=on: exits per I/O, {what}", counted("on", tag, "exits_fault"),
                    "at most 0.01", most=0.01)
        limit = 0.99 if "64k" in tag else 0.97
        if "read" in tag:
            goals.aim(f"fio, asi=on / asi=off: IOPS, {what}", iops(tag),
                      f"at least {limit}", least=limit)


def main():
    """The table and plot, then goals."""
    for tag in tags(1, 2):
        for kind in "off", "on":
            check_errors(f"fio-{kind}", tag)
            if tag.endswith(".2") and not setting("one_cpu"):
                check_errors(f"fio-smp-{kind}", tag)
    write()
    goals = reduce.Goals()
    judge(goals)
    goals.save("fio", "fio-on")


if __name__ == "__main__":
    main()
