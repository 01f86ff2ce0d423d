# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Test results: every group of tests writes TAP into a folder, from which they are counted.

# Sets `results`, a fresh folder in the cache. The last ones are kept for a look.
new_results() {
	mkdir -p "$cache/check"
	results=$(mktemp -d "$cache/check/$(date +%Y%m%d-%H%M%S)-XXXXXX")
	find "$cache/check" -mindepth 1 -maxdepth 1 -type d | sort | head -n -20 | xargs -r rm -rf --
}

# group <name> <command>...: runs a command that prints TAP, and tells of it when it has ended.
group() {
	local name=$1 tap=$results/$1.tap log=$results/$1.log status=0
	shift
	"$@" > "$tap" 2> "$log" < /dev/null || status=$?
	judge "$name" "$status"
	tell "$name"
}

# What TAP by itself does not show becomes a failure too: a run that ended early or gave nothing.
judge() {
	local tap=$results/$1.tap
	local count plan
	count=$(grep -cE '^(not )?ok ' "$tap" || true)
	plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$tap" | tail -n 1)
	if [[ -z $plan || $plan != "$count" ]]; then
		echo "not ok - $1: ended early, with status $2 after $count results" >> "$tap"
	elif (($2)) && ! grep -q '^not ok ' "$tap"; then
		echo "not ok - $1: ended with status $2" >> "$tap"
	else
		return 0
	fi
	tail -n 30 "$results/$1.log" | sed 's/^/# /' >> "$tap"
}

passed() { cat -- "$@" | grep -E '^ok ' | grep -vcE '# SKIP' || true; }
failed() { cat -- "$@" | grep -cE '^not ok ' || true; }

tell() {
	local tap=$results/$1.tap
	{
		flock 8
		note "$1: $(passed "$tap") passed, $(failed "$tap") failed" 2>&1
		awk '/^ok /{ show = 0 } /^not ok /{ show = 1 } show && /^(not ok|#)/{ print "    " $0 }' "$tap"
	} 8> "$results/.lock"
}

# need <name> <command>...: runs what the tests cannot do without. It counts only if it fails.
need() {
	local name=$1 log=$results/$1.log
	shift
	if ! "$@" > "$log" 2>&1 < /dev/null; then
		{
			echo "not ok 1 - $name"
			tail -n 60 "$log" | sed 's/^/# /'
		} > "$results/$name.tap"
		tell "$name"
		finish
	fi
}

# Prints the closing line and ends the script.
finish() {
	local all=("$results"/*.tap) failures
	failures=$(failed "${all[@]}")
	note "all output: $results"
	echo "$(passed "${all[@]}") passed, $failures failed"
	((failures == 0)) || exit 1
	exit 0
}

