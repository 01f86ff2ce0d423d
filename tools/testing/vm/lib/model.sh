# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# `svol-test model`, with the events that it asks for. A test defines what they mean:
# functions model_live, model_restart, model_cut and model_start.

# Runs the model on the volumes in the array CLONES. SVOL_SCALE makes it so many times longer.
run_model() { # seconds "event..." [options...]
	local seconds=$1 events=$2 volumes=() lid line status=0 pid in out
	shift 2
	for lid in "${CLONES[@]}"; do
		volumes+=("/dev/mapper/$lid")
	done
	coproc MODEL { exec "$SVOL_TEST" model "${volumes[@]}" --seed "$SEED" --rng "$SVOL_SEED" \
		--seconds "$((seconds * ${SVOL_SCALE:-1}))" --events "$events" --own 1001 "$@" 2>model.errors; }
	# bash forgets the variables of a coprocess when it ends.
	pid=$MODEL_PID
	exec {out}<&"${MODEL[0]}" {in}>&"${MODEL[1]}"
	while read -r -u "$out" line; do
		case $line in
		'do '*)
			"model_${line#do }"
			echo ok >&"$in"
			;;
		*) note "$line" ;;
		esac
	done
	exec {out}<&- {in}>&-
	wait "$pid" || status=$?
	[ "$status" = 0 ] || fail "the model failed with status $status: $(cat model.errors)"
}

model_restart() {
	clones_restart
}

# All that users of the volumes must not notice, one at a time.
MODEL_LIVE=0
model_live() {
	local lid=${CLONES[MODEL_LIVE % ${#CLONES[@]}]} table
	MODEL_LIVE=$((MODEL_LIVE + 1))
	case $((MODEL_LIVE % 6)) in
	0) dm_change "$G_NAME" "$(group_table)" ;;
	1) dm_change "$G_NAME" "$(group_table)" --noflush ;;
	2)
		dmsetup suspend "$lid"
		dmsetup resume "$lid"
		;;
	3)
		dmsetup suspend --noflush "$G_NAME"
		nap 0.2
		dmsetup resume "$G_NAME"
		;;
	4)
		table=$(dmsetup table "$lid")
		dm_change "$lid" "$table" --noflush
		;;
	5)
		dmsetup suspend "$G_NAME"
		dmsetup resume "$G_NAME"
		;;
	esac
	dmsetup status "$G_NAME" >/dev/null
}

model_cut() {
	power_off "${G_DISKS[@]}"
}

model_start() {
	clones_power_return
}
