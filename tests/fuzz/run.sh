#!/bin/sh
# Fuzzes every target, or those that are named, one after the other on one core: run.sh BINARY FOLDER SECONDS [TARGET...]
# (in the source directory). Prints a line for each; inputs that break a property stay in FOLDER/found.
set -eu
binary=$1 folder=$2 seconds=$3
shift 3
mkdir -p "$folder/found"
list() { FUZZ_TARGET=list "$binary" 2>/dev/null; }
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(list | cut -d " " -f 1)
[ $# -gt 0 ] || { echo "$binary names no target" >&2; exit 1; }
# With FUZZ_RUNS so many inputs, from the seeds alone: the same ones each time for one FUZZ_SEED.
known=$folder/corpus
limit="-max_total_time=$seconds"
[ -z "${FUZZ_RUNS:-}" ] || known=$(mktemp -d)
failed=
printf '%-16s %12s %9s %7s %9s\n' target executions per-second edges features
for target in "$@"; do
	golden=$(list | sed -n "s/^$target //p")
	mkdir -p "$known/$target"
	log=$folder/$target.log
	# What takes long, or much memory, is a find as well: 16 KiB are enough for what grows with the square to be
	# seen. Twenty seconds, because the machine may be busy and the program is not optimized.
	# A life with our state is 80 ms, and a drawing 7, where nothing is optimized.
	case ${FUZZ_RUNS:-}/$target in
	*[0-9]/state) limit="-runs=$((FUZZ_RUNS / 20))" ;;
	*[0-9]/history) limit="-runs=$((FUZZ_RUNS / 4))" ;;
	*[0-9]/*) limit="-runs=$FUZZ_RUNS" ;;
	esac
	status=0
	# shellcheck disable=SC2086
	FUZZ_TARGET=$target "$binary" "$limit" -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=512 \
		-max_len=16384 -len_control=20 -use_value_profile=1 -reload=0 -seed="${FUZZ_SEED:-0}" -print_final_stats=1 \
		-artifact_prefix="$folder/found/$target-" \
		"$known/$target" "tests/corpus/seeds/$target" $golden >"$log" 2>&1 || status=$?
	stat() { sed -n "s/^stat::$1: *//p" "$log"; }
	edges=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 \2/p' "$log" | tail -n 1)
	# shellcheck disable=SC2086
	printf '%-16s %12s %9s %7s %9s\n' "$target" "$(stat number_of_executed_units)" "$(stat average_exec_per_sec)" $edges
	if [ "$status" != 0 ]; then
		failed="$failed $target"
		grep -aE -m 4 'panicked at|ERROR: |Test unit written' "$log" || tail -n 20 "$log"
	fi
done
[ -z "${FUZZ_RUNS:-}" ] || rm -rf "$known"
[ -z "$failed" ] || { echo "not held:$failed; see $folder" >&2; exit 1; }
