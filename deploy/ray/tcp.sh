# Read by head.sh and worker.sh. After a network swallowed packets for a while, everything goes on when TCP tries again. Left alone it
# doubles its pauses: that may be as long after the cut as the cut was. TORI_RTO_MAX_MS=2000 makes it try every 2 s on this machine, for
# all of its connections; it needs root and Linux 6.15 or newer.
tori_rto="${TORI_RTO_MAX_MS:-}"
unset TORI_RTO_MAX_MS
if [ -n "$tori_rto" ]; then
    if [ -w /proc/sys/net/ipv4/tcp_rto_max_ms ]; then
        echo "$tori_rto" > /proc/sys/net/ipv4/tcp_rto_max_ms
    else
        echo "TORI_RTO_MAX_MS: net.ipv4.tcp_rto_max_ms cannot be set here (root, Linux 6.15 or newer)." >&2
    fi
fi
