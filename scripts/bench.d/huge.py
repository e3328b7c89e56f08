# SPDX-License-Identifier: GPL-2.0
"""What folios of 2 MB change for guest memory."""
import reduce
from reduce import get, number, per_page, setting

KINDS = reduce.names("HUGE_KINDS")
HUGE = [kind for kind in KINDS if kind.endswith("-huge")]
MB = number("HUGE_MB")
PAGES = number("pages")


def cost(boot, tag, key, pages):
    """Of a page, for each kind."""
    return [per_page(boot, f"{tag}.{kind}", key, pages) for kind in KINDS]


def costs(boot):
    """All that is measured, in instructions per page."""
    return [
        ["fallocate", *cost(boot, "load", "round_fallocate_tsc", PAGES * 4)],
        ["fallocate and first use", *cost(boot, "load", "round_populate_tsc", PAGES * 4)],
        ["copy to a mapping", *cost(boot, "load", "round_memcpy_tsc", PAGES * 4)],
        ["release", *cost(boot, "fault", "round_release_tsc", PAGES * 4)],
        ["move_pages by 512", *cost(boot, "move", "round_tsc", PAGES)],
        ["KVM_GMEM_MOVE", *cost(boot, "file", "round_tsc", PAGES)],
    ]


def write():
    """huge.csv and huge.md"""
    rounds = number("rounds")
    columns = ["what", "pages", "pages, hidden", "2 MB", "2 MB, hidden"]
    words = reduce.save_csv("huge", ["what", "pages_insns", "hidden_pages_insns", "huge_insns",
                                     "hidden_huge_insns"], costs("huge-words"))
    share, scattered = ({kind: get(boot, f"{tag}.{kind}", key) for kind in HUGE}
                        for boot, tag, key in (("huge-smp", "share", "fallocate_huge_pages"),
                                               ("huge-frag", "frag", "huge_pages")))
    reduce.save(reduce.out("huge.md"), [
        *reduce.header("# What folios of 2 MB change for guest memory", "huge"),
        "guest_memfd with GUEST_MEMFD_FLAG_MOVABLE, in pages and in folios of 2 MB",
        f"(GUEST_MEMFD_FLAG_HUGE), with and without a direct map; {PAGES * 4} pages",
        f"({PAGES} for move_pages), the median of the last {rounds // 2} of {rounds}",
        "rounds. Instructions per page of 4 KB, where 8 bytes are zeroed or copied",
        f"at a time ({setting('WORDS')}):",
        *reduce.table(columns, "lrrrr", words),
        "",
        "With ERMS, where each byte that is zeroed or copied counts as one:",
        *reduce.table(columns, "lrrrr", costs("huge")),
        "",
        "How long a vCPU waits for memory that is being moved, and at rest before.",
        "Ticks of an emulated TSC, wall time: to be compared with each other only.",
        *reduce.table(["memory", "pages moved", "longest, at rest", "longest, moving"], "lrrr",
                      [[kind, *(get("huge-smp", f"guest.{kind}", key)
                                for key in ("moved", "quiet_longest_tsc", "longest_tsc"))]
                       for kind in KINDS]),
        "",
        f"Of a file of {MB} MB, on a machine that has just booted: {share['gmem-huge']} of "
        f"{MB * 256} pages in folios of 2 MB, without a direct map "
        f"{share['gmem-hidden-huge']}.",
        "Where shmem has a page in each pair of page slots of 1600 MB of 2 GB: "
        f"{scattered['gmem-huge']}, and {scattered['gmem-hidden-huge']} without a direct map.",
    ])


def judge(goals):
    """What is wanted of it."""
    for kind in HUGE:
        goals.judge(f"{kind}: of {MB} MB in folios of 2 MB",
                    get("huge-smp", f"share.{kind}", "fallocate_huge_pages"),
                    "at least 95 %", least=0.95 * MB * 256)
        goals.judge(f"{kind}: the same, in fragmented memory",
                    get("huge-frag", f"frag.{kind}", "huge_pages"),
                    "at least 80 %", least=0.80 * MB * 256)
        goals.judge(f"{kind}: words wrong of the pages that made room",
                    get("huge-frag", f"frag.{kind}", "wrong"), "0", least=0, most=0)
    goals.judge("guest_memfd, 2 MB, hidden, copied by word: fallocate, a page",
                per_page("huge-words", "load.gmem-hidden-huge", "round_fallocate_tsc", PAGES * 4),
                "at most 700", most=700)
    goals.judge("guest_memfd, 2 MB, hidden, copied by word: KVM_GMEM_MOVE, a page",
                per_page("huge-words", "file.gmem-hidden-huge", "round_tsc", PAGES),
                "at most 2500", most=2500)
    goals.aim("the same, move_pages(2)",
              per_page("huge-words", "move.gmem-hidden-huge", "round_tsc", PAGES),
              "at most 2500", most=2500)


def main():
    """The table, then goals."""
    for kind in KINDS:
        for boot in "huge", "huge-words":
            reduce.check_moved(boot, f"move.{kind}")
            reduce.check_moved(boot, f"file.{kind}")
        reduce.check_moved("huge-smp", f"guest.{kind}")
    write()
    goals = reduce.Goals()
    judge(goals)
    goals.save("huge", "huge")


main()
