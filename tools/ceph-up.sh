#!/bin/bash
# A real S3 server for the tests marked `ceph`: one Ceph monitor, one OSD that keeps its data in memory, one radosgw.
#
#   tools/ceph-up.sh DIRECTORY           start (installs Debian's packages if they are missing, which needs root)
#   tools/ceph-up.sh --stop DIRECTORY    stop and remove what is in the directory
#
# Prints the server's URL as its last word. The key pair is $S3_KEY and $S3_SECRET. Ports are chosen by the kernel.
set -euo pipefail

stop=no
if [ "${1:-}" = --stop ]; then
    stop=yes
    shift
fi
base=$(realpath -m "${1:?a directory to keep the server in}")

finish() { # the daemon whose pid file this is
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || return 0
    timeout 30 tail --pid="$pid" -f /dev/null || kill -9 "$pid"
}

if [ $stop = yes ]; then
    for daemon in client.rgw.test osd.0 mon.test; do
        finish "$base/$daemon.pid"
    done
    rm -rf "$base"
    exit 0
fi

packages=()
for program in ceph-mon:ceph-mon ceph-osd:ceph-osd radosgw:radosgw ceph:ceph-common; do
    command -v "${program%:*}" >/dev/null || packages+=("${program#*:}")
done
if [ ${#packages[@]} -gt 0 ]; then
    echo "installing ${packages[*]}" >&2
    {
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
    } >&2
fi

mkdir -p "$base"/{mon,osd,rgw}
chmod 755 "$base"
read -r mon_port rgw_port < <(python3 - <<'PY'
import socket
sockets = [socket.socket() for _ in range(2)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
PY
)

fsid=$(cat /proc/sys/kernel/random/uuid)
cat >"$base/ceph.conf" <<CONF
[global]
    fsid = $fsid
    mon initial members = test
    mon host = v2:127.0.0.1:$mon_port
    public addr = 127.0.0.1
    ms bind msgr1 = false
    keyring = $base/keyring
    run dir = $base
    admin socket = $base/\$name.asok
    pid file = $base/\$name.pid
    log file = $base/\$name.log
    crash dir = $base
    auth allow insecure global id reclaim = false
    # One copy of everything, in few placement groups.
    osd pool default size = 1
    osd pool default min size = 1
    osd pool default pg num = 4
    osd pool default pg autoscale mode = off
    osd crush chooseleaf type = 0
    mon allow pool size one = true
    mon max pg per osd = 1000
    # How full the machine's own disk is does not matter here.
    mon data avail crit = 0
[mon.test]
    mon data = $base/mon
[osd.0]
    osd data = $base/osd
    osd objectstore = memstore
    memstore device bytes = 2147483648
[client.rgw.test]
    rgw data = $base/rgw
    # Without tcp_nodelay every small answer waits 40 ms for the client's delayed acknowledgement.
    rgw frontends = beast endpoint=127.0.0.1:$rgw_port tcp_nodelay=1
CONF

run() { # a program with this cluster's configuration
    local program=$1
    shift
    "$program" --conf "$base/ceph.conf" "$@"
}
until_it_works() { # seconds, command…
    local end=$((SECONDS + $1))
    shift
    until "$@" >"$base/last.out" 2>&1; do
        if [ $SECONDS -ge $end ]; then
            echo "gave up waiting for: $*" >&2
            cat "$base/last.out" >&2
            return 1
        fi
        sleep 0.1
    done
}

umask 077
ceph-authtool --create-keyring "$base/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool "$base/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' >/dev/null
ceph-authtool "$base/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' >/dev/null
ceph-authtool "$base/keyring" --gen-key -n client.rgw.test --cap mon 'allow rw' --cap osd 'allow rwx' >/dev/null
monmaptool --create --fsid "$fsid" --addv test "[v2:127.0.0.1:$mon_port]" "$base/monmap" >/dev/null

run ceph-mon --id test --mkfs --monmap "$base/monmap" --keyring "$base/keyring"
run ceph-mon --id test
until_it_works 60 run ceph --connect-timeout 5 mon stat

uuid=$(cat /proc/sys/kernel/random/uuid)
run ceph osd new "$uuid" 0 >/dev/null
run ceph-osd --id 0 --mkfs --osd-uuid "$uuid" >"$base/mkfs.out" 2>&1
run ceph-osd --id 0
until_it_works 60 sh -c "ceph --conf '$base/ceph.conf' osd stat | grep -q '1 up'"

run radosgw --name client.rgw.test
until_it_works 120 python3 -c "from urllib.request import urlopen; urlopen('http://127.0.0.1:$rgw_port/')"
run radosgw-admin user create --uid=test --display-name=test \
    --access-key="${S3_KEY:=testkey}" --secret-key="${S3_SECRET:=testsecret}" >"$base/user.json"
echo "http://127.0.0.1:$rgw_port"
