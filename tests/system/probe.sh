# What a process is allowed, one line for each try: a name, then "yes" or the last words of the refusal.
# Run as the command of a sink, that is in the daemon's sandbox, and beside it.
cat >/dev/null
export XDG_RUNTIME_DIR=/run/user/1000 LC_ALL=C
try() {
    name=$1; shift
    if why=$("$@" 2>&1 </dev/null); then echo "$name yes"; else echo "$name ${why##*: }"; fi
}
manager=user.slice/user-1000.slice/user@1000.service
for root in /sys/fs/cgroup /sys/fs/cgroup/systemd; do
    [ ! -d "$root/$manager" ] || group=$root/$manager/probe
done
socket='use Socket; sub end { print STDERR "x: $!\n"; exit 1 } '

for private in ssh gnupg aws kube; do try "$private" cat ~/.$private/secret; done
try etc mkdir /etc/probe
try usr mkdir /usr/probe
try elsewhere sh -c 'mkdir /srv/alice/probe && rmdir /srv/alice/probe'
try temporary cat /tmp/mark
try setting sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
try groups sh -c "mkdir $group && rmdir $group"
try devices test -e /dev/console
try others cat /proc/1/comm
try namespace unshare --user true
try setuid sh -c 'touch ~/set; chmod u+s ~/set'
# A priority that is none: who may ask at all is told so.
try realtime perl -e "$socket"'$n = `uname -m` =~ /x86/ ? 144 : 119; $none = pack("i", 0); syscall($n, 0, 1, $none) == 0 or end'
try personality setarch --addr-no-randomize true
try packets perl -e "$socket"'socket(S, 17, SOCK_RAW, 0) or end'
try listen-tcp perl -e "$socket"'socket(S, PF_INET, SOCK_STREAM, 0) or end; listen(S, 1) or end'
try listen-unix perl -e "$socket"'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("$ENV{HOME}/s.$$")) or end;
    unlink("$ENV{HOME}/s.$$"); listen(S, 1) or end'
try cores sh -c 'ulimit -Hc; [ "$(ulimit -Hc)" != 0 ]'

try lock sh -c 'mkdir ~/.claude.lock && rmdir ~/.claude.lock'
try home sh -c 'echo x >~/.probe && rm ~/.probe'
try engine perl -e "$socket"'socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un("/run/engine.sock")) or end'
try loopback perl -e "$socket"'open F, "/srv/alice/port"; socket(S, PF_INET, SOCK_STREAM, 0) or end;
    connect(S, sockaddr_in(<F>, INADDR_LOOPBACK)) or end'
try names getent ahosts localhost
try journal sh -c 'echo heard-from-the-probe | systemd-cat'
try user-bus busctl --user status
try system-bus busctl --system status
try manager systemctl --user is-active default.target
