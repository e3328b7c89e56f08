# SPDX-License-Identifier: GPL-2.0
"""What Address Space Isolation costs threads of fio: a part of fio.md. A window is its
CPU's: threads on other CPUs take no part."""
import os

import fio
import reduce
from reduce import get, ratio, setting


def write():
    """fio-threads.csv, and its part of fio.md"""
    with open("/proc/loadavg", encoding="ascii") as file:
        load = file.read().split(".")[0]
    reduce.save(reduce.out("fio-threads.csv"), [
        f"# Kernel: patched {get('fio-threads-on', 'release', 'release')}; "
        f"{setting('qemu_version')}, TCG, 4 CPUs on a host with "
        f"{len(os.sched_getaffinity(0))} and a load of {load}",
        "fs,job,threads,ipis_off,ipis_on,parked_on,hits_on,flushed_on,exits_on,iops_on",
        *(",".join([*tag.split("."), fio.counted("threads-off", tag, "tlb_ipis"),
                    *(fio.counted("threads-on", tag, counter)
                      for counter in ("tlb_ipis", "parked", "hits", "window_flushed",
                                      "exits_fault")),
                    ratio(get("fio-threads-on", tag, "iops"),
                          get("fio-threads-off", tag, "iops"))])
          for tag in fio.tags(2, 4))])
    text = reduce.read(reduce.out("fio.md"))
    if fio.THREADS_TITLE in text:
        text = text[:text.index(fio.THREADS_TITLE)]
    while text and not text[-1]:
        text.pop()
    reduce.save(reduce.out("fio.md"), [*text, "", *fio.threads_section()])


def main():
    """Nothing is wanted of these."""
    for tag in fio.tags(2, 4):
        for kind in "off", "on":
            fio.check_errors(f"fio-threads-{kind}", tag)
    write()


main()
