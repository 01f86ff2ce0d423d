# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Power cuts at every mark of a record, as in replay, of what people do with volumes: fio, file
# systems with files that are made durable one by one, databases. A diverted volume C1 and an
# in-place one L5 with one store, both in use at a time. At each point the group starts, what was
# acknowledged is there, file systems are whole, and `svol check` finds no damage. SVOL_SECONDS
# makes it longer: from about 700 on, all flushes, FUA writes and marks have their point.
# Smoke: ext4
# Limits: fio=600 ext4=600 xfs=600 sqlite=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

SVOL_SECONDS=${SVOL_SECONDS:-4}
POINTS=$SVOL_SECONDS

# How many of what the workload does one by one: less where only few points are looked at.
load_length() { # short long
	if [ "$SVOL_SECONDS" -lt 60 ]; then
		echo "$1"
	else
		echo "$2"
	fi
}

# The disks, still without a record. The store has room for all blocks of both volumes.
load_disks() { # MiB-of-a-volume sectors-of-a-block
	load_module
	record_disks meta=4 "c1=$1" "disk=$1" "store=$(($1 * 2 + 4))"
	STORE=/dev/mapper/store DISK=/dev/mapper/disk
	G_NAME=G0
	G_LEN=$(($1 * 2048))
	G_BLOCK=$2
	G_META=(/dev/mapper/meta)
	G_VOLUMES=('C1 ro /dev/mapper/c1 ST' "L5 rw $DISK ST" "ST increments $STORE -")
	G_FEATURES=(init assume_identical)
	CLONES=(C1 L5)
	# A start after a cut says what was not finished.
	expect_warnings
}

load_start() {
	record_start
	group_create
	clones_create
}

load_stop() {
	clones_remove
	dmsetup remove "$G_NAME"
	record_stop
}

# Does something on both volumes at a time.
on_volumes() { # command; gets the LID
	local lid pids=() pid
	for lid in "${CLONES[@]}"; do
		"$1" "$lid" &
		pids+=("$!")
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || fail "$1 failed"
	done
}

# --- fio -----------------------------------------------------------------------------------

# Each round fills one of three regions of each volume in random order, several writes at a time
# and a flush now and then, and is acknowledged as a whole. The seed makes rounds differ, and
# fio looks at it: an older round in the same region is not taken for this one.
fio_rounds() { # round... ; prints the jobs
	local round lid size
	for round in "$@"; do
		for lid in "${CLONES[@]}"; do
			size=4k
			# Also smaller than a sub-block, on the one and on the other.
			[ $((round % 2)) = $((${lid#?} % 2)) ] || size=1k
			printf '%s\n' "[$lid.$round]" "filename=/dev/mapper/$lid" "randseed=$round" \
				"offset=$((round % 3 * 1024 + 100))k" size=128k "bs=$size"
		done
	done
}

fio_run() { # options...
	fio --output=fio.out --thread --ioengine=libaio --iodepth=8 --direct=1 --rw=randwrite --allrandrepeat=1 \
		--verify=crc32c --verify_fatal=1 "$@" || fail "fio: $(cat fio.out)"
}

# The rounds that still stand, while the one after them may be half done.
fio_check() { # rounds
	local round standing=()
	for round in $(($1 - 1)) "$1"; do
		[ "$round" -lt 1 ] || standing+=("$round")
	done
	[ "${#standing[@]}" -gt 0 ] || return 0
	fio_rounds "${standing[@]}" >verify.fio
	fio_run --verify_only=1 verify.fio
}

fio_point() { # entries
	local rounds
	rounds=$(replay_acked "$1" fio)
	replay_start "$1"
	fio_check "$rounds"
	replay_again "$1" fio_check "$rounds"
	replay_end "$1"
}

test_fio() {
	local round
	hot_add fio
	load_disks 4 128
	load_start
	record_note post.0
	for ((round = 1; round <= $(load_length 4 8); round++)); do
		fio_rounds "$round" >round.fio
		fio_run --do_verify=0 --fsync=16 --end_fsync=1 round.fio
		record_note "fio.$round"
	done
	load_stop
	replay_all post.0 "$POINTS" fio_point
}

# --- File systems ----------------------------------------------------------------------------

fs_mount() { # LID
	mkdir -p "m.$1"
	mount ${MOUNT_OPTIONS[@]+"${MOUNT_OPTIONS[@]}"} "/dev/mapper/$1" "m.$1"
}

fs_umount() { # LID
	umount "m.$1"
}

# The same file system on both disks before the split, mounted on both volumes.
fs_start() { # mkfs...
	"$@" /dev/mapper/c1
	mkdir m
	mount /dev/mapper/c1 m
	mkdir m/work
	umount m
	save_disk /dev/mapper/c1 image
	load_disk /dev/mapper/disk image
	rm image
	load_start
	on_volumes fs_mount
	sync -f m.C1
	sync -f m.L5
	record_note post.0
}

fs_stop() {
	fs_umount C1
	fs_umount L5
	load_stop
}

# What was acknowledged is there.
fs_check() { # entries LID
	local acked
	acked=$(replay_acked "$1" "$2")
	echo "$2 after $1 entries, $acked acknowledged"
	fs_mount "$2"
	"$FS_CHECK" "$2" "$acked"
	fs_umount "$2"
}

# Mounting finishes what the cut interrupted; then nothing is to be found.
fs_point() { # entries
	local lid
	replay_start "$1"
	for lid in "${CLONES[@]}"; do
		fs_check "$1" "$lid"
		"${FSCK[@]}" "/dev/mapper/$lid" >fsck.out 2>&1 ||
			fail "${FSCK[*]} of $lid after $1 entries: $(cat fsck.out)"
	done
	replay_again "$1" fs_again "$1"
	replay_end "$1"
}

fs_again() { # entries
	local lid
	for lid in "${CLONES[@]}"; do
		fs_check "$1" "$lid"
	done
}

files_seed() { # LID
	echo $((SVOL_SEED + ${1#?}))
}

files_change() { # LID
	"$SVOL_TEST" files "m.$1/work" --seed "$(files_seed "$1")" --count "$(load_length 16 28)" \
		--mark recorded --name "$1"
}

files_check() { # LID acknowledged
	"$SVOL_TEST" files "m.$1/work" --seed "$(files_seed "$1")" --acked "$2"
}

files_replay() { # mkfs...
	fs_start "$@"
	on_volumes files_change
	fs_stop
	FS_CHECK=files_check
	replay_all post.0 "$POINTS" fs_point
}

EXT4=(mkfs.ext4 -q -F)
EXT4_FSCK=(e2fsck -fn)

# Blocks of 1 KiB, which make parts of sub-blocks.
test_ext4() {
	hot_add mount e2fsck
	FSCK=("${EXT4_FSCK[@]}")
	load_disks 8 128
	files_replay "${EXT4[@]}" -b 1024
}

# Smaller than mkfs likes it: more would only take longer.
test_xfs() {
	hot_add mount xfs_repair
	# It does not like a single group.
	FSCK=(xfs_repair -n -o force_geometry)
	# Both volumes have the same UUID.
	MOUNT_OPTIONS=(-o nouuid)
	load_disks 20 32
	files_replay mkfs.xfs -q -f --unsupported -d agcount=1 -l size=13m
}

# --- Databases ---------------------------------------------------------------------------------

# The text of a row, from the number of its transaction and its own.
SQL_TEXT="substr(replace(hex(zeroblob(600)), '00', printf('%05d.%03d ', k, i)), 1, 1 + (k * 977 + i * 331) % 5000)"
# So many transactions keep their rows.
SQL_KEPT=8

# A journal that is removed has to be gone for good when a transaction is acknowledged: FULL
# does not wait for that, EXTRA does. With a WAL, FULL is enough.
sql_mode() { # LID
	case $1 in
	C1) echo 'PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;' ;;
	*) echo 'PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=12;' ;;
	esac
}

# Transaction k adds k % 5 + 1 rows, takes those of an old one away, and notes its number.
sql_transaction() { # number
	echo "BEGIN;
		INSERT INTO t WITH RECURSIVE c(k, i) AS (SELECT $1, 1 UNION ALL SELECT k, i + 1 FROM c
			WHERE i < $1 % 5 + 1) SELECT k, i, $SQL_TEXT FROM c;
		DELETE FROM t WHERE k <= $1 - $SQL_KEPT;
		UPDATE s SET n = $1;
		COMMIT;
		SELECT 'done $1';"
}

# Waits for the answer of the database that is our coprocess.
sql_wait() { # answer
	local line=
	until [ "$line" = "$1" ]; do
		read -r -u "${SQL[0]}" -t 120 line || fail "the database does not say \"$1\""
	done
}

sql_create() { # LID
	sqlite3 -bail "m.$1/work/db" "$(sql_mode "$1")
		CREATE TABLE t(k, i, d, PRIMARY KEY(k, i)); CREATE TABLE s(n); INSERT INTO s VALUES(0);" >/dev/null
	sync -f "m.$1"
}

sql_change() { # LID
	local n all pid
	all=$(load_length 12 18)
	coproc SQL { exec sqlite3 -batch -bail "m.$1/work/db" 2>&1; }
	pid=$SQL_PID
	sql_mode "$1" >&"${SQL[1]}"
	for ((n = 1; n <= all; n++)); do
		sql_transaction "$n" >&"${SQL[1]}"
		sql_wait "done $n"
		record_note "$1.$n"
	done
	# It does not end by itself as long as somebody could say more.
	echo '.exit' >&"${SQL[1]}"
	wait "$pid"
}

# The database is whole, and is that after the last acknowledged transaction, or one more.
sql_check() { # LID acknowledged
	local answer whole n rows wrong kept=0 k
	answer=$(sqlite3 -batch -bail -separator ' ' "m.$1/work/db" "PRAGMA integrity_check; SELECT s.n, (SELECT count(*) FROM t),
		(SELECT count(*) FROM t WHERE d IS NOT $SQL_TEXT OR k > s.n OR k <= s.n - $SQL_KEPT) FROM s;")
	{ read -r whole && read -r n rows wrong; } <<<"$answer" || fail "$1: the database says: $answer"
	assert_eq 'the integrity of the database' "$whole" ok
	[ "$n" = "$2" ] || [ "$n" = $(($2 + 1)) ] || fail "$1: transaction $n is the last one, $2 is acknowledged"
	for ((k = n > SQL_KEPT ? n - SQL_KEPT + 1 : 1; k <= n; k++)); do
		kept=$((kept + k % 5 + 1))
	done
	assert_eq "the rows after transaction $n" "$rows" "$kept"
	assert_eq 'the wrong rows' "$wrong" 0
}

test_sqlite() {
	hot_add mount e2fsck sqlite3
	FSCK=("${EXT4_FSCK[@]}")
	FS_CHECK=sql_check
	load_disks 16 8
	fs_start "${EXT4[@]}" -b 4096
	on_volumes sql_create
	record_note post.1
	on_volumes sql_change
	fs_stop
	replay_all post.1 "$POINTS" fs_point
}
