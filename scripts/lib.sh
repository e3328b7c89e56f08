# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # variables for those who source it
# Shared by scripts/*: paths, messages, exit codes. Sourced, never run.
#
# Exit codes: 0 pass, 1 fail, 2 usage, 3 the environment, 4 skipped.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$ROOT/build}
case "$BUILD" in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
LOGS=$BUILD/logs
LINUX=$BUILD/linux
JOBS=${JOBS:-$(nproc)}
export ROOT BUILD LOGS LINUX JOBS
export LC_ALL=C.UTF-8
# Debian's tools first: scripts/deps has seen to these, and to their modules.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH

# Started from a git hook or alias, git would look at the caller's repository.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_PREFIX

# The kernel this series is for. Any 7.3.y will do.
KERNEL_WANTED=7.3

say() { printf '[%(%H:%M:%S)T] %s\n' -1 "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
	local code=$1
	shift
	warn "$*"
	exit "$code"
}

# usage: print the script's own header comment as its help text.
usage() {
	sed -n '3,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"
}

# logged NAME WHAT COMMAND...: run a long step with its output in a log file,
# say what it is, where the log is, and how long it took; on failure show
# the end of the log. COMMAND may be a function, but set -e is off inside it:
# it has to return its own failures.
logged() {
	local name=$1 what=$2 start=$SECONDS
	shift 2
	mkdir -p "$LOGS"
	say "$what; log: ${LOGS#"$ROOT"/}/$name.log"
	if ! "$@" >"$LOGS/$name.log" 2>&1 </dev/null; then
		tail -n 50 "$LOGS/$name.log" >&2
		warn "failed after $((SECONDS - start)) s: $what"
		return 1
	fi
	say "  done in $((SECONDS - start)) s"
}

# hash_of FILE...: one hash over names and contents, for stamps.
hash_of() {
	sha256sum -- "$@" | sed "s|$ROOT/||" | sha256sum | cut -c1-32
}

# --- the guest ------------------------------------------------------------

# needed_32 FILE...: what programs of 32 bits among FILEs need. ldd runs a program's
# loader, and a kernel need not run any of 32 bits.
needed_32() {
	local file name
	for file; do
		[[ $(od -An -tu1 -j4 -N1 "$file") -eq 1 ]] || continue
		readelf -lW "$file" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p'
		for name in $(readelf -dW "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
			realpath -s "$(gcc -m32 -print-file-name="$name")"
		done
	done
}

# copy_libraries ROOT FILE...: the shared libraries and loaders FILEs need, at
# the paths they have here.
copy_libraries() {
	local root=$1 lib
	shift
	{
		ldd "$@" 2>/dev/null || :
		needed_32 "$@"
	} |
		grep -o '/[^ ]*' | grep -v ':$' | sort -u |
		while read -r lib; do
			[[ -e $lib && ! -e $root$lib ]] || continue
			install -D -m 755 "$lib" "$root$lib"
		done
}

# debian_mirror: the mirror of the main Debian archive that this system uses.
debian_mirror() {
	apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' \
		'Origin: Debian' 2>/dev/null |
		grep -v -e security -e '^file:' -e '^cdrom:' | sort -u | head -n 1 || :
}

# kunit_suites: the KUnit suites that this series brings, one a line.
kunit_suites() {
	sed -n 's/^suite *| *\([a-z_]*\) .*/\1/p' "$ROOT/scripts/tests.expect"
}

# kunit_command SUITE: what a guest's shell runs; s=1 where the suite is missing. The
# terminal still prints what was written, and what the kernel says meanwhile would be
# in the midst of it: stty waits for the terminal.
kunit_command() {
	local dir=/sys/kernel/debug/kunit/$1
	echo "echo 1 >$dir/run; cat $dir/results || s=1; stty -echo </dev/console"
}

# --- the series -----------------------------------------------------------

# Where new kernel files may live in this repository. scripts/ and configs/
# belong to the project.
KERNEL_DIRS=(arch block drivers fs include kernel lib mm tools virt
	Documentation)

# series_patches: the paths of the patches, in order.
series_patches() {
	[ -f "$ROOT/patches/series" ] || return 0
	local name
	while read -r name _; do
		case "$name" in '' | '#'*) continue ;; esac
		printf '%s\n' "$ROOT/patches/$name"
	done <"$ROOT/patches/series"
}

# new_files PATCH...: the new kernel files that the patches bring with them.
new_files() {
	[ $# -eq 0 ] || sed -sn '/^---$/,$d; s/^New-file: *//p' -- "$@"
}

# series_parts REPO RANGE: the parts that patches/parts makes of these commits:
# lines "NN NAME FIRST LAST", the numbers of patches.
series_parts() {
	[ -f "$ROOT/patches/parts" ] || die 1 "patches/parts is missing"
	git -C "$1" log --reverse --format=%s "$2" | awk '
		function stop(why) {
			print "patches/parts: " why >"/dev/stderr"
			stopped = 1
			exit 1
		}
		NR == FNR {
			if (/^#/ || !NF)
				next
			name[++parts] = $1
			sub(/^[^ \t]+[ \t]+/, "")
			subject[parts] = $0
			next
		}
		at < parts && $0 == subject[at + 1] { first[++at] = FNR }
		!at { stop("\"" $0 "\" is in no part") }
		{ last = FNR }
		END {
			if (stopped)
				exit 1
			if (at < parts)
				stop("part " name[at + 1] ": no patch after part " (at ? name[at] : "0") \
					" has the subject \"" subject[at + 1] "\"")
			for (i = 1; i <= parts; i++)
				printf "%02d %s %d %d\n", i, name[i], first[i],
					i < parts ? first[i + 1] - 1 : last
		}' "$ROOT/patches/parts" - || exit 1
}

# record_series NAME...: results/NAME.csv is of the series as it is now.
record_series() {
	local name count
	count=$(series_patches | wc -l)
	for name; do
		sed -i "/^$name,/d" "$ROOT/results/series.csv"
		echo "$name,$count" >>"$ROOT/results/series.csv"
	done
}

# patches_hash: stands for what patches/ says, new files left out.
patches_hash() {
	cat "$ROOT"/patches/series "$ROOT"/patches/*.patch 2>/dev/null |
		sha256sum | cut -c1-32
}

# sterile_git: no personal git set-up takes part in what follows. Diffs,
# mails and commits come out the same for everyone, also without a name.
sterile_git() {
	export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
	export GIT_EDITOR=: GIT_ADVICE=0
	unset GIT_CONFIG_COUNT GIT_CONFIG_PARAMETERS GIT_EXTERNAL_DIFF \
		GIT_DIFF_OPTS
}

# as_author REPO COMMIT: commits made next bear COMMIT's author and date, as
# committer too, so that the same series gives the same hashes everywhere.
as_author() {
	local a
	mapfile -t a < <(git -C "$1" log -1 --format='%an%n%ae%n%ad' --date=raw "$2")
	export GIT_AUTHOR_NAME=${a[0]} GIT_AUTHOR_EMAIL=${a[1]} GIT_AUTHOR_DATE=${a[2]}
	export GIT_COMMITTER_NAME=${a[0]} GIT_COMMITTER_EMAIL=${a[1]} GIT_COMMITTER_DATE=${a[2]}
}

# tree_lock: only one of tree, refresh and series changes build/linux; what
# the holder of the lock starts shares it.
tree_lock() {
	[ -z "${TREE_LOCKED:-}" ] || return 0
	mkdir -p "$BUILD"
	exec 9>"$BUILD/.tree.lock"
	flock 9
	export TREE_LOCKED=1
}
