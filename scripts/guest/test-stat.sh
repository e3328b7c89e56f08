#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: test-stat.sh
#
# ephmap-stat has to say what is known: of processes that hold a known number of
# secret pages, of the kernel's counters, of bad arguments. In the guest; TAP on
# the standard output.

# shellcheck source=scripts/guest/tap.sh
. /tests/tap.sh

asi=/sys/kernel/debug/asi
now=/tmp/now.json
echo "TAP version 13"
echo "1..20"

# look: one report, with what CPUs still hold back folded in.
look() {
	cat /proc/sys/vm/stat_refresh
	ephmap-stat -j >$now
}

# get KEY...: a value of the last report.
get() {
	json_value "$@" <$now
}

# same TEXT ACTUAL EXPECTED
same() {
	[ "$2" = "$3" ]
	status=$?
	[ $status = 0 ] || echo "# $1: $2, not $3"
	result $status "$1"
}

vmstat() {
	sed -n "s/^$1 //p" /proc/vmstat
}

# await FILE LINE: at most 60 s.
await() {
	tries=0
	until grep -q "^$2" "$1"; do
		tries=$((tries + 1))
		[ $tries -lt 1200 ] || return 1
		usleep 50000
	done
}

# holder PID INODE: what the last report says of the two.
holder() {
	i=0
	while pid=$(get holders $i pid 2>/dev/null); do
		if [ "$pid" = "$1" ] && [ "$(get holders $i inode)" = "$2" ]; then
			echo "$(get holders $i type)" "$(get holders $i fds)" \
				"$(get holders $i maps)" \
				"$(get holders $i mapped_pages)"
		fi
		i=$((i + 1))
	done
}

# blocks: secret ones, users' and others, as /proc/pagetypeinfo counts them, and
# secret ones by the kernel's counters. With asi=on movable blocks are users'.
blocks() {
	users='^User'
	[ ! -e $asi ] || users='^(User|Movable|CMA)'
	awk -v users="$users" '/^Number of blocks type/ {
		for (i = 5; i <= NF; i++)
			who[i] = $i ~ /^Secret/ ? 1 : $i ~ users ? 2 : 3
		counting = 1
		next
	}
	/^Number of mixed|^$/ { counting = 0 }
	counting {
		for (i = 5; i <= NF; i++)
			count[who[i]] += $i
	}
	END { print count[1] + 0, count[2] + 0, count[3] }' /proc/pagetypeinfo
	echo $(($(vmstat secret_block_hide) - $(vmstat secret_block_show)))
}

# reported_blocks: the same of the last report.
reported_blocks() {
	secret=$(get visibility secret_blocks)
	echo "$secret $(get visibility user_blocks)" \
		$(($(get visibility kernel_blocks) + $(get visibility isolated_blocks)))
	echo "$secret"
}

# --- who holds what -------------------------------------------------------------

look
same "nothing is held before" "$(get files '#') $(get holders '#')" "0 0"

stat_hold >/tmp/pids &
pids=$!
await /tmp/pids '[0-9]'
read -r first second </tmp/pids
look && json_value <$now
result $? "the report is JSON to the letter, whatever a process calls itself"
# In the order that they are met: by process, its descriptors first.
one=$(get files 0 inode)
two=$(get files 1 inode)
same "files and their pages: each page once, and no file of another kind" \
	"$(get files '#') $(get files 0 pages) $(get files 1 pages)" "2 16 3"
same "processes: descriptors, maps, pages in page tables" \
	"$(holder "$first" "$one"),$(holder "$first" "$two"),$(holder "$second" "$one"),$(get holders '#')" \
	"secretmem 2 2 15,secretmem 0 1 3,secretmem 2 2 1,3"
same "the kernel counts as many" \
	"$(get counters nr_no_direct_map) $(get counters nr_no_direct_map_files)" \
	"19 2"
get holders 0 command >/tmp/command
same "a name is printed as JSON has it" "$(cat /tmp/command)" \
	'we\"ird\\\ufffd\u0009é'
ephmap-stat >/tmp/text
same "the text says the same" \
	"$(sed -n 1p /tmp/text | cut -d: -f2),$(grep -c "^ *$first we.ird..*secretmem.* 16  *15\$" /tmp/text)" \
	" 19 hidden in 2 files; the kernel counts 19 in 2,1"
# Blocks that are not needed any more are given back at any time.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	was=$(blocks)
	look
	[ "$was" != "$(blocks)" ] || break
	sleep 1
done
[ "$(get visibility secret_blocks)" -gt 0 ] && reported=$(reported_blocks)
same "blocks by visibility; secret ones are those hidden and not shown" \
	"$reported" "$was"
kill "$pids"
wait "$pids" 2>/dev/null

# --- moves -------------------------------------------------------------------------

# hold STAGE OPTIONS...: stopped when it is at that stage.
hold() {
	stage=$1
	shift
	# The one in the background truncates it when it gets to run: await must
	# not find the stages of the last one.
	: >/tmp/hold
	secretmem_hold -n 3 -w 2000 -c 0 "$@" >/tmp/hold &
	pid=$!
	await /tmp/hold "outside: $stage" && kill -STOP $pid
}

hold filled -p 96
look
same "secretmem_hold has its pages" \
	"$(get holders '#'),$(holder $pid "$(get files 0 inode)")" \
	"1,secretmem 1 1 96"
before=$(get counters no_direct_map_migrate_success)
begin=$(date +%s)
ephmap-stat -j 1 >/tmp/lines &
lines=$!
await /tmp/lines '{.*}$'
kill -CONT $pid
await /tmp/hold "outside: rested"
kill -STOP $pid
look
moved=$(sed -n 's/^outside: \([0-9]*\) pages moved/\1/p' /tmp/hold)
same "pages moved" \
	"$(($(get counters no_direct_map_migrate_success) - before)) $((moved > 0))" \
	"$moved 1"
# Two reports more: the first of them may have begun before.
more=$(($(grep -c '}$' /tmp/lines) + 2))
until [ "$(grep -c '}$' /tmp/lines)" -ge $more ]; do
	usleep 100000
done
kill $lines
wait $lines 2>/dev/null
end=$(date +%s)
bad=0
sum=0
nr=0
# The last line may not be whole, and is not read then.
while read -r line; do
	echo "$line" >$now
	nr=$((nr + 1))
	if [ $nr = 1 ]; then
		get differences '#' >/dev/null 2>&1 && bad=1
		previous=$(get counters ephmap_sessions)
		continue
	fi
	sum=$((sum + $(get differences counters no_direct_map_migrate_success)))
	value=$(get counters ephmap_sessions)
	[ "$(get differences counters ephmap_sessions)" = \
		$((value - previous)) ] || bad=1
	previous=$value
done </tmp/lines
[ $nr -ge 3 ] && [ $((nr - 2)) -le $((end - begin)) ] || bad=1
[ "$(ephmap-stat -j 1 2 | wc -l)" = 2 ] || bad=1
result $bad "$nr reports in $((end - begin)) s: differences are those of the values"
same "their differences are all moves" "$sum" "$moved"
kill -CONT $pid
wait $pid

# --- guest_memfd -------------------------------------------------------------------

secretmem_hold -k
hold moved -g -p 64
look
same "a VM's memory" \
	"$(get files 0 type) $(get files 0 pages) $(get files 0 hidden),$(holder $pid "$(get files 0 inode)")" \
	"guest_memfd 64 64,guest_memfd 1 1 64"
if grep -q '^gmem-pages' /proc/$pid/fdinfo/* 2>/dev/null; then
	# The same lines in the same order, in decimal.
	cat /proc/$pid/fdinfo/* | sed -n 's/^gmem-//p' | while read -r name value; do
		echo "${name%:} $((value))"
	done >/tmp/fdinfo
	while read -r name _; do
		echo "$name $(get files 0 gmem "$name")"
	done </tmp/fdinfo >/tmp/gmem
	cmp /tmp/fdinfo /tmp/gmem && grep -q '^moved 192' /tmp/gmem
	result $? "what fdinfo says ($(tr '\n' ' ' </tmp/gmem))"
else
	result 0 "what fdinfo says # SKIP fdinfo has no gmem lines"
fi
kill -KILL $pid
wait $pid 2>/dev/null

# --- counters ----------------------------------------------------------------------

counters() {
	sed -n -E 's/^(nr_no_direct_map|no_direct_map_|ephmap_|secret_|direct_map_)/&/p' \
		/proc/vmstat
	sed -n 's/^DirectMap\(4k\|2M\): *\([0-9]*\) kB/meminfo \2/p' /proc/meminfo
}

# They rest, but for blocks that are given back at any time.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	counters >/tmp/counters
	look
	counters | cmp -s - /tmp/counters && break
	sleep 1
done
differ=0
grep -v ^meminfo /tmp/counters >/tmp/vmstat
while read -r name value; do
	[ "$(get counters "$name")" = "$value" ] && continue
	echo "# $name: $(get counters "$name"), not $value"
	differ=1
done </tmp/vmstat
[ "$(wc -l </tmp/vmstat)" -gt 15 ] || differ=1
result $differ "each counter, failures by reason among them, is /proc/vmstat's"
same "the direct map's sizes" \
	"$(get direct_map_kb DirectMap4k) $(get direct_map_kb DirectMap2M)" \
	"$(sed -n 's/^meminfo //p' /tmp/counters | xargs)"

if [ -e $asi ]; then
	differ=0
	# They go on counting.
	sed 's/^/low_/' $asi/stats >/tmp/low
	ephmap-stat -j >$now
	while read -r name low; do
		name=${name#low_}
		value=$(get asi_stats "$name")
		high=$(sed -n "s/^$name //p" $asi/stats)
		[ "$low" -le "$value" ] && [ "$value" -le "$high" ] && continue
		echo "# $name: $value is not from $low to $high"
		differ=1
	done </tmp/low
	[ "$(get visibility user_blocks)" -gt 0 ] || differ=1
	[ "$(get kernel asi)" = on ] && [ "$(get asi_stats exits_fault)" -gt 0 ] &&
		[ "$(get asi_exits '#')" -gt 1 ] || differ=1
	result $differ "exits by cause, and by instruction; blocks of users"
else
	same "asi=off: no exits, no blocks of users" \
		"$(get kernel asi) $(get asi_stats '#') $(get visibility user_blocks)" \
		"off 0 0"
fi

# --- less than all, and errors -----------------------------------------------------

echo 'user:x:1000:1000::/tmp:/bin/sh' >>/etc/passwd
hold filled -p 8
# Those of others, without kernel threads.
others=0
for process in /proc/[0-9]*; do
	! readlink "$process/exe" >/dev/null || others=$((others + 1))
done
su user -c ephmap-stat\ -j >$now
same "without privileges: what can be read, and what cannot" \
	"$? $(get holders '#') $(get counters nr_no_direct_map_files) $(get blocks) $(get unread 1 what) $(get unread 1 why),$(get processes_denied)" \
	"0 0 1 null /proc/pagetypeinfo Permission denied,$others"
su user -c ephmap-stat >/tmp/text
grep -q '^Could not read /proc/pagetypeinfo: Permission denied' /tmp/text &&
	grep -q '^Could not look at [0-9]* processes: ' /tmp/text
result $? "and the text says so"
kill -KILL $pid
wait $pid 2>/dev/null

bad=0
# error STATUS ARGUMENT...: one line, and nothing else.
error() {
	expected=$1
	shift
	ephmap-stat "$@" >/tmp/out 2>/tmp/err
	status=$?
	if [ "$status" != "$expected" ] || [ -s /tmp/out ] ||
		[ "$(wc -l </tmp/err)" != 1 ] ||
		! grep -q '^ephmap-stat: ' /tmp/err; then
		echo "# $*: status $status"
		bad=1
	fi
}
error 2 -x
error 2 0
error 2 -- -1
error 2 1.5
error 2 abc
error 2 1 0
error 2 1 ''
error 2 99999999999999999999
error 2 1 2 3
for option in '' -j; do
	# shellcheck disable=SC2086 # an option, or none
	ephmap-stat $option >/dev/full 2>/tmp/err
	status=$?
	[ $status = 1 ] && [ "$(wc -l </tmp/err)" = 1 ] || bad=1
done
result $bad "errors: a line, status 2 for arguments, 1 for what cannot be written"
exit "$failed"
