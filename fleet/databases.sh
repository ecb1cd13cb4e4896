#!/usr/bin/env bash
# Runs a command with real databases:
#
#   databases.sh NAME... -- COMMAND...
#
# The names are those of server.sh. Each database is started in a temporary
# folder, and installed from Debian where it is missing. Its address is in
# FLEET_POSTGRES, FLEET_MARIADB, FLEET_REDIS or FLEET_CLUSTER (a Redis Cluster);
# where such a variable has one already, that is used as it is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

die() { echo "fleet: $*" >&2; exit 1; }

have() {
	case $1 in
	postgres) [ -n "$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] && command -v psql pg_dump ;;
	mariadb) command -v mariadbd mariadb-install-db mariadb mariadb-dump ;;
	redis | cluster) command -v redis-server redis-cli ;;
	esac >/dev/null
}
wanted=() packages=()
while [ $# -gt 0 ]; do
	name=$1
	shift
	if [ "$name" = -- ]; then break; fi
	address=FLEET_${name^^}
	if [ -n "${!address:-}" ]; then continue; fi
	wanted+=("$name")
	if have "$name"; then continue; fi
	case $name in
	postgres) packages+=(postgresql postgresql-client) ;;
	mariadb) packages+=(mariadb-server-core mariadb-client) ;;
	redis | cluster) packages+=(redis-server redis-tools) ;;
	esac
done
if [ ${#packages[@]} -gt 0 ]; then
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
		die "these are needed: ${packages[*]}; or addresses in FLEET_POSTGRES, FLEET_MARIADB, FLEET_REDIS and FLEET_CLUSTER"
	fi
	echo "fleet: installing ${packages[*]}"
	apt-get update -qq
	# Nothing of it is started as a service.
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

FLEET_DIR=$(mktemp -d)
FLEET_SERVER=$here/server.sh
export FLEET_DIR FLEET_SERVER
chmod 755 "$FLEET_DIR"
cleanup() {
	for name in "${wanted[@]}"; do "$FLEET_SERVER" "$name" crash || true; done
	rm -rf "$FLEET_DIR"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
for name in "${wanted[@]}"; do
	"$FLEET_SERVER" "$name" start
	dsn=$("$FLEET_SERVER" "$name" dsn)
	export "FLEET_${name^^}=$dsn"
done
"$@"
