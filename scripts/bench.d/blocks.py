# SPDX-License-Identifier: GPL-2.0
"""What secret blocks leave to others."""
import reduce
from reduce import count, get, number, ratio, total

PIECES = reduce.names("BLOCKS_PIECES")
LEFT = "direct_map_4k_left_kb"
UNITS = """\
Times are wall time in an emulator (clearcpuid=erms): compare them with
  each other only."""


def times(boot, tag, key):
    """How often it was done."""
    return len(reduce.values(boot, tag, key))


def us(boot, tag, *keys):
    """Microseconds per page, the median; of keys the sum."""
    return ratio(sum(reduce.median(boot, tag, key) for key in keys),
                 count(boot, tag, "pages") * 1000, 2)


def shootdowns(boot, tag, use):
    """Per page, of all rounds. USE is first or again."""
    counter = f"{use}_direct_map_zap_shootdowns"
    get(boot, tag, counter)
    return ratio(total(boot, tag, counter), total(boot, tag, "pages"), 5)


def alone(boot, tag):
    """Percent of the pages that left the direct map alone."""
    get(boot, tag, "direct_map_zaps")
    zaps = total(boot, tag, "direct_map_zaps") - total(boot, tag, "secret_block_hide") * 512
    return ratio(zaps * 100, total(boot, tag, "pages"), 2)


def left(boot, kind):
    """By the guest's first run."""
    return reduce.values(boot, f"touch.{kind}", LEFT)[0]


def megabytes(boot, tag):
    """What was had."""
    return count(boot, tag, "pages") // 256


def had(boot, tag):
    """The same, for people."""
    # SIGALRM: the time was up.
    up = get(boot, tag, "signal") == "14"
    return f"{'more than ' if up else ''}{megabytes(boot, tag)}"


def huge(boot, tag):
    """Percent of what was asked for, the mean."""
    return ratio(total(boot, tag, "huge_kb") * 100,
                 times(boot, tag, "huge_kb") * count(boot, tag, "asked_kb"), 1)


def figures():
    """What, its unit, stock, ephmap, shmem."""
    for use, tag, key in ("first use", "touch", "first"), ("second use", "reuse", "again"):
        yield [f"shootdowns: memfd_secret: {use}", "per page",
               shootdowns("blocks-off", f"{tag}.secret", key),
               shootdowns("blocks-on", f"{tag}.secret", key), "0"]
    for use, tag, key in ("first use", "touch", "first"), ("second use", "reuse", "again"):
        yield [f"shootdowns: guest_memfd: {use}", "per page", "",
               shootdowns("blocks-on", f"{tag}.gmem-hidden", key), ""]
    for what, tag, *keys in (("first use", "touch", "first_ns"),
                             ("release", "touch", "release_ns"),
                             ("second use", "reuse", "again_ns"),
                             ("second use and release", "reuse", "again_ns", "release_ns")):
        yield [f"time: {what}", "us per page", us("blocks-off", f"{tag}.secret", *keys),
               us("blocks-on", f"{tag}.secret", *keys), us("blocks-on", f"{tag}.shmem", *keys)]
    for guest, what in ("blocks", ""), ("blocks-gb", " (1 GB pages)"):
        yield [f"DirectMap4k left behind{what}", "KB", left(f"{guest}-off", "secret"),
               left(f"{guest}-on", "secret"), left(f"{guest}-on", "shmem")]
    for piece in PIECES:
        yield [f"fallback: free pieces of {int(piece) * 4} KB", "%",
               alone("blocks-full-off", f"full.{piece}"),
               alone("blocks-full-on", f"full.{piece}"), ""]
    for memory in "clean", "fragmented":
        yield [f"had before OOM: {memory}", "MB", had("blocks-full-off", f"fit.{memory}.secret"),
               had("blocks-full-on", f"fit.{memory}.secret"),
               had("blocks-full-on", f"fit.{memory}.shmem")]
    yield ["huge pages: nothing beside them", "%", huge("blocks-off", "huge.none"),
           huge("blocks-on", "huge.none"), ""]
    yield ["huge pages: 64 MB are replaced", "%", huge("blocks-off", "huge.secret"),
           huge("blocks-on", "huge.secret"), huge("blocks-on", "huge.shmem")]


def write():
    """blocks.csv, blocks.md"""
    rows = reduce.save_csv("blocks", ["what", "unit", "stock", "ephmap", "shmem"], figures())
    reduce.save(reduce.out("blocks.md"), [
        *reduce.header("# What secret blocks leave to others", "blocks-on", units=UNITS),
        *reduce.picture("blocks"),
        "By bench/blocks.c in guests with two CPUs. Stock: the same kernel with",
        "ephmap=off, which takes each page out of the direct map alone, as the",
        "unpatched kernel does. shmem: ordinary memory in the ephmap guest.",
        *reduce.table(["figure", "unit", "stock (ephmap=off)", "ephmap", "shmem"], "llrrr", rows),
        "",
        "- Shootdowns and times: 300 MB are touched page by page and released; "
        f"{times('blocks-on', 'touch.secret', 'first_ns')}",
        "  times, secret memory and shmem in turn "
        f"({times('blocks-off', 'touch.secret', 'first_ns')} for stock, "
        f"{times('blocks-on', 'touch.gmem-hidden', 'first_ns')} for guest_memfd).",
        "  The second use is that of 32 MB that were just released. The mean of",
        "  shootdowns, the median of times. Secret memory is zeroed when it is",
        "  released, shmem when it is touched: second use and release have both.",
        "- DirectMap4k of /proc/meminfo, 10 s after the first 300 MB were released,",
        "  less what it was before; in a guest of 2 GB, and in one of 4 GB whose",
        "  direct map has pages of 1 GB.",
        "- Fallback, in a guest of 1 GB: secret pages that left the direct map alone.",
        "  90 % of the available memory is anonymous pages, and what is free is",
        "  scattered among them in pieces. Half of it is touched.",
        "- Had before OOM: in a guest of 1 GB, files of 128 MB, touched by a child",
        f"  until it is killed; or until {number('BLOCKS_PATIENCE')} s have passed: more than.",
        "  Fragmented: before that, 90 % of the free memory became anonymous pages,",
        "  and three of four pieces of 64 KB were freed again.",
        "- Huge pages: 60 % of all memory is asked for with MADV_HUGEPAGE and",
        f"  touched, {times('blocks-on', 'huge.secret', 'huge_kb')} times. "
        "In percent of that, AnonHugePages: the mean. Meanwhile",
        "  a process has 64 MB of secret memory (or shmem), in 16 files that it",
        "  replaces one by one, at random.",
    ])
    reduce.plot("blocks")


def judge(goals):
    """What is wanted of secret memory."""
    for kind, what in ("secret", "memfd_secret"), ("gmem-hidden", "guest_memfd"):
        goals.judge(f"shootdowns per first touch: {what}",
                    shootdowns("blocks-on", f"touch.{kind}", "first"),
                    "at most 1/256", most=1 / 256)
        goals.judge("the same, of blocks used before",
                    shootdowns("blocks-on", f"reuse.{kind}", "again"), "0", least=0, most=0)
    for what, tag, key in (("time of a first touch: memfd_secret / shmem", "touch", "first_ns"),
                           ("the same, of blocks used before", "reuse", "again_ns")):
        goals.judge(what, ratio(us("blocks-on", f"{tag}.secret", key),
                                us("blocks-on", f"{tag}.shmem", key), 2),
                    "at most 1.5", most=1.5)
    goals.judge("DirectMap4k left behind by 300 MB, KB", left("blocks-on", "secret"), "0", most=0)
    goals.judge("the same, with 1 GB pages", left("blocks-gb-on", "secret"), "0", most=0)
    for piece in PIECES:
        goals.judge(f"fallback, 90 % full, free pieces of {int(piece) * 4} KB: percent",
                    alone("blocks-full-on", f"full.{piece}"), "at most 1", most=1)
    for memory in "clean", "fragmented":
        goals.judge(f"had before OOM, {memory}: memfd_secret / shmem",
                    ratio(megabytes("blocks-full-on", f"fit.{memory}.secret"),
                          megabytes("blocks-full-on", f"fit.{memory}.shmem")),
                    "at least 0.97", least=0.97)
    goals.judge("huge pages had: while secret memory is replaced / without it",
                ratio(huge("blocks-on", "huge.secret"), huge("blocks-on", "huge.none")),
                "at least 0.97", least=0.97)


def main():
    """The table and plot, then goals."""
    for guest in "blocks-gb-off", "blocks-gb-on":
        if not count(guest, "touch.secret", "direct_map_1g_kb"):
            reduce.die(1, f"{guest}: the direct map has no pages of 1 GB")
    write()
    goals = reduce.Goals()
    judge(goals)
    goals.save("blocks", "blocks-on", units=UNITS)


main()
