#!/usr/bin/env bash
# Starts and stops one of the databases of the tests, on a loopback port, with
# its files under $FLEET_DIR:
#
#   server.sh NAME start   a new one, or what was stopped, on the same port
#   server.sh NAME crash   ends it without a word to anybody
#   server.sh NAME stop
#   server.sh NAME dsn     what a client needs to know
#
# The names are postgres, mariadb, redis, and cluster, which is a Redis Cluster
# of one server.
set -euo pipefail
name=$1 action=$2
dir=${FLEET_DIR:?the folder of the databases}/$name
die() { echo "fleet: $*" >&2; exit 1; }

# The databases refuse to run as root.
user=$(id -un) unprivileged=()
if [ "$(id -u)" -eq 0 ]; then
	user=nobody
	[ "$name" != postgres ] || ! id postgres >/dev/null 2>&1 || user=postgres
	unprivileged=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups)
fi

free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
	done
}
postgres_bin() { find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1; }

prepare() {
	mkdir -p "$dir/data"
	free_port >"$dir/port"
	[ "$(id -u)" -ne 0 ] || chown -R "$user" "$dir"
	case $name in
	postgres)
		"${unprivileged[@]}" "$(postgres_bin)/initdb" -D "$dir/data" -U fleet -A trust --no-instructions >"$dir/log" 2>&1
		;;
	mariadb)
		"${unprivileged[@]}" mariadb-install-db --no-defaults --datadir="$dir/data" --auth-root-authentication-method=normal --skip-test-db >"$dir/log" 2>&1
		;;
	esac
}

launch() {
	local port
	port=$(cat "$dir/port")
	case $name in
	postgres)
		"${unprivileged[@]}" setsid "$(postgres_bin)/postgres" -D "$dir/data" -p "$port" -k '' \
			-c listen_addresses=127.0.0.1 -c max_connections=200 >>"$dir/log" 2>&1 </dev/null &
		;;
	mariadb)
		"${unprivileged[@]}" setsid mariadbd --no-defaults --datadir="$dir/data" --bind-address=127.0.0.1 --port="$port" --socket="$dir/data/socket" \
			--pid-file="$dir/data/pid" --skip-name-resolve --max-connections=300 --max-connect-errors=1000000 >>"$dir/log" 2>&1 </dev/null &
		;;
	redis | cluster)
		local cluster=no
		[ "$name" = redis ] || cluster=yes
		"${unprivileged[@]}" setsid redis-server --cluster-enabled "$cluster" --bind 127.0.0.1 --port "$port" --dir "$dir/data" --appendonly yes --appendfsync "${FLEET_FSYNC:-everysec}" \
			--save '' --maxmemory-policy noeviction >>"$dir/log" 2>&1 </dev/null &
		;;
	esac
	echo $! >"$dir/pid"
}

# Whether it answers.
ready() {
	local port
	port=$(cat "$dir/port")
	case $name in
	postgres) psql -qAt -h 127.0.0.1 -p "$port" -U fleet -d postgres -c 'SELECT 1' ;;
	mariadb) mariadb --no-defaults -h 127.0.0.1 -P "$port" -u root -e 'CREATE DATABASE IF NOT EXISTS fleet' ;;
	redis) [ "$(redis-cli -h 127.0.0.1 -p "$port" ping)" = PONG ] ;;
	cluster)
		redis-cli -h 127.0.0.1 -p "$port" cluster addslots $(seq 0 16383) || true # it has them already
		redis-cli -h 127.0.0.1 -p "$port" cluster info | grep -q cluster_state:ok
		;;
	esac >/dev/null 2>&1
}

# A process that has ended, and that nobody has asked for, is there as Z.
running() { [ -f "$dir/pid" ] && grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$(cat "$dir/pid")/status" 2>/dev/null; }
ended() {
	for _ in $(seq 600); do
		running || return 0
		sleep 0.05
	done
	die "$name did not end"
}

case $action in
start)
	[ -d "$dir/data" ] || prepare
	running || launch
	for _ in $(seq 1200); do
		if ready; then exit 0; fi
		running || { tail -n 20 "$dir/log" >&2; die "$name did not start"; }
		sleep 0.05
	done
	die "$name did not answer"
	;;
crash)
	# SIGQUIT is pg_ctl's immediate mode. Killed, PostgreSQL would leave its
	# processes behind, which nobody but itself can end.
	running || exit 0
	if [ "$name" = postgres ]; then kill -QUIT "$(cat "$dir/pid")"; else kill -KILL "$(cat "$dir/pid")"; fi
	ended
	;;
stop)
	running || exit 0
	if [ "$name" = postgres ]; then kill -INT "$(cat "$dir/pid")"; else kill -TERM "$(cat "$dir/pid")"; fi
	ended
	;;
dsn)
	port=$(cat "$dir/port")
	case $name in
	postgres) echo "postgres://fleet@127.0.0.1:$port/postgres?sslmode=disable" ;;
	mariadb) echo "root@tcp(127.0.0.1:$port)/fleet?interpolateParams=true" ;;
	redis | cluster) echo "redis://127.0.0.1:$port/0" ;;
	esac
	;;
*) die "what is $action?" ;;
esac
