# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The cache: an item is whole or absent, whatever interrupts its builder.

# A script "thing" that makes an item of these inputs: a folder with a file "made". Its builder says in the file
# builds that it runs; it ends when there is a file "go", and fails if there is one "fail".
things() {
	new_project
	: > builds
	cat > "$P/scripts/thing" <<-'EOF'
		. "$(dirname -- "${BASH_SOURCE[0]}")/lib/all.sh"
		cached thing "$1" "a thing" build_thing "$2"
		echo "$item"
	EOF
	cat > "$P/scripts/lib/builders.d/thing" <<-'EOF'
		build_thing() {
			local left=("$1"/*)
			[[ ! -e ${left[0]} ]] || { echo "left over: ${left[*]}"; exit 1; }
			echo half > "$1/made"
			echo "the builder's output"
			echo build >> "$2/builds"
			# A process that is found by its command line.
			"$BASH" -c 'until [[ -e $1/go || -e $1/fail ]]; do sleep 0.05; done' "$2/builder" "$2"
			false_unless_asked
			[[ ! -e $2/fail ]]
			echo whole > "$1/made"
		}
		# Under set -e, as all builders rely on, whatever called them.
		false_unless_asked() { true; }
	EOF
}

thing() { # <inputs>
	"$BASH" "$P/scripts/thing" "$1" "$TEST_DIR"
}

builds() {
	wc -l < builds
}

builds_are() {
	(($(builds) == $1))
}

items() {
	mkdir -p "$DM_SVOL_CACHE"
	find "$DM_SVOL_CACHE" -maxdepth 1 -name 'thing-*' | sort
}

# Makes it, if need be, and looks at it.
thing_is_made() { # <inputs>
	local path
	touch go
	path=$(thing "$1" 2> said)
	assert_eq 'the item' "$(cat "$path/made")" whole
	assert_eq 'what it is made of' "$(ls -A "$path")" made
	assert_eq 'the unfinished work' "$(ls -A "$DM_SVOL_CACHE/work")" ''
}

test_cache_makes_an_item_once() {
	local path
	things
	thing_is_made red
	assert_said 'a thing \.\.\.$' 'a thing: done in [0-9]+ s$'
	path=$(items)
	thing_is_made red
	assert_eq 'what is said of an item that is there' "$(cat said)" ''
	assert_eq 'the number of builds' "$(builds)" 1
	# Others are other items.
	thing_is_made blue
	assert_eq 'the number of builds' "$(builds)" 2
	assert_eq 'the number of items' "$(items | wc -l)" 2
	thing_is_made red
	assert_eq 'the number of builds' "$(builds)" 2
	[[ -d $path ]]
}

# interrupted <signal>: the script is ended in the midst of its builder, by a signal to it alone.
interrupted() {
	local pid
	things
	"$BASH" "$P/scripts/thing" red "$TEST_DIR" > printed 2> said &
	pid=$!
	wait_for builds_are 1
	assert_eq 'the items, halfway' "$(items)" ''
	wait_for has_some "$TEST_DIR/builder"
	kill "-$1" "$pid"
	wait "$pid" || :
	wait_for has_none "$TEST_DIR/builder"
	wait_for has_none "$P/scripts/lib/builders"
	# Nor does anything go on with it later.
	touch go
	sleep 0.3
	assert_eq 'the items, after the interruption' "$(items)" ''
	assert_eq 'what is printed' "$(cat printed)" ''
	thing_is_made red
	assert_eq 'the number of builds' "$(builds)" 2
}

test_cache_interrupted_by_term() {
	interrupted TERM
}

test_cache_interrupted_by_kill() {
	interrupted KILL
}

test_cache_two_runs_at_once() {
	local first second
	things
	thing red > printed 2> said.first &
	first=$!
	wait_for builds_are 1
	thing red > printed.second 2> said &
	second=$!
	wait_for grep -q 'a thing: another run is making it; waiting for that' said
	sleep 0.2
	assert_eq 'the number of builds' "$(builds)" 1
	if has_ended "$first" || has_ended "$second"; then
		fail 'a run has ended before the item is there'
	fi
	touch go
	wait "$first"
	wait "$second"
	assert_eq 'the number of builds' "$(builds)" 1
	assert_eq 'the item of the second' "$(cat printed.second)" "$(cat printed)"
	assert_eq 'the item' "$(cat "$(cat printed)/made")" whole
}

# The one that waits makes it if the other one does not come to its end.
test_cache_second_run_takes_over() {
	local first second
	things
	"$BASH" "$P/scripts/thing" red "$TEST_DIR" > printed 2> said.first &
	first=$!
	wait_for builds_are 1
	thing red > printed.second 2> said &
	second=$!
	wait_for grep -q 'waiting for that' said
	kill -KILL "$first"
	wait_for builds_are 2
	touch go
	wait "$second"
	assert_eq 'the item' "$(cat "$(cat printed.second)/made")" whole
}

test_cache_builder_fails() {
	local log
	things
	touch fail
	fails 1 thing red
	log=$(find "$DM_SVOL_CACHE/log" -name 'thing-*.log')
	assert_said "^    the builder's output$" \
		"^dm-svol: a thing: failed; the lines above are the end of $log$" \
		'^dm-svol: run the same command again to retry; what was finished before is kept$' \
		'^dm-svol: \(no network\? full disk\? behind a proxy\? see DEBIAN_MIRROR and DM_SVOL_CACHE'
	assert_eq 'what is printed' "$(cat printed)" ''
	assert_eq 'the items' "$(items)" ''
	assert_eq 'the unfinished work' "$(ls -A "$DM_SVOL_CACHE/work")" ''
	rm fail
	thing_is_made red
}

# A builder stops at its first error, though its caller asks for its status.
test_cache_builder_stops_at_an_error() {
	things
	sed -i 's/^false_unless_asked() .*/false_unless_asked() { false; }/' "$P/scripts/lib/builders.d/thing"
	touch go
	fails 1 thing red
	assert_eq 'the items' "$(items)" ''
}

test_cache_cannot_be_written() {
	things
	: > file
	DM_SVOL_CACHE=$TEST_DIR/file/cache fails 1 thing red
	assert_said "^dm-svol: cannot write to the cache $TEST_DIR/file/cache; set DM_SVOL_CACHE to another folder$"
}
