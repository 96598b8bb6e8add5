# What the widgets have in common: settings, one way to the host, and words for the person. POSIX sh.
# Nothing of what the host prints is shown but what is looked for in it, bounded and without what could
# be a token: login banners and shell start-up files print what they like.
# shellcheck shell=sh

umask 077

# ~/.config/tokensink-phone: lines KEY=VALUE; a variable TOKENSINK_PHONE_KEY wins.
host='' port='' identity='' known_hosts='' command='' login=''
settings=${TOKENSINK_PHONE_SETTINGS:-$HOME/.config/tokensink-phone}
if [ -r "$settings" ]; then
    while IFS='=' read -r key value || [ -n "$key" ]; do
        case $key in
        host) host=$value ;;
        port) port=$value ;;
        identity) identity=$value ;;
        known_hosts) known_hosts=$value ;;
        command) command=$value ;;
        login) login=$value ;;
        esac
    done <"$settings"
fi
host=${TOKENSINK_PHONE_HOST:-$host}
port=${TOKENSINK_PHONE_PORT:-$port}
identity=${TOKENSINK_PHONE_IDENTITY:-$identity}
known_hosts=${TOKENSINK_PHONE_KNOWN_HOSTS:-$known_hosts}
command=${TOKENSINK_PHONE_COMMAND:-${command:-tokensink}}
login=${TOKENSINK_PHONE_LOGIN:-$login}
# How long one call may take, in seconds.
patience=${TOKENSINK_PHONE_PATIENCE:-90}

# Fit to be shown: one short line, no control characters, nothing long enough for a token.
plain() {
    printf '%s' "$1" | tr '\n\t' '  ' | LC_ALL=C tr -d '\000-\037\177' |
        sed 's/sk-ant-[A-Za-z0-9_-]*/(token)/g; s/[A-Za-z0-9_.+/=-]\{33,\}/(...)/g' | cut -c1-160
}

say() { plain "tokensink: $1" | termux-toast; }

buzz() { termux-vibrate -d "$1"; }

# fail TEXT: says it, and ends.
fail() {
    buzz 300
    say "$1"
    exit 1
}

case $host in
'') fail "no host is set in $settings" ;;
-*) fail "the host in $settings is none" ;;
esac
case $login in *[!A-Za-z0-9._-]* | -*) fail "the login in $settings is none" ;; esac

work=$(mktemp -d) || fail "no room for a temporary directory"
background=
finish() {
    [ -z "$background" ] || kill "$background" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# remote ARGUMENTS: tokensink on the host, its exit code; 255 when there is no way to it, 124 when it is late.
# What ssh itself and the host's tokensink complain of is in $work/complaints.
remote() {
    words=$*
    set -- -T -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
        -o LogLevel=ERROR -o ClearAllForwardings=yes
    [ -z "$port" ] || set -- "$@" -p "$port"
    [ -z "$identity" ] || set -- "$@" -i "$identity" -o IdentitiesOnly=yes
    [ -z "$known_hosts" ] || set -- "$@" -o "UserKnownHostsFile=$known_hosts"
    timeout "$patience" ssh "$@" -- "$host" "$command $words" 2>"$work/complaints"
}

# unreached CODE: says why there is no answer of tokensink's, and ends; does nothing where there is one.
unreached() {
    case $1 in
    255)
        if grep -q 'Host key verification failed' "$work/complaints"; then
            fail "the host key of $host is not known: ssh $host once"
        elif grep -q 'Permission denied' "$work/complaints"; then
            fail "$host does not take the key of this phone"
        fi
        fail "$host cannot be reached"
        ;;
    124 | 137 | 143) fail "$host does not answer in time" ;;
    126 | 127) fail "tokensink is not found on $host" ;;
    78 | 77 | 70 | 64) fail "$host answers with exit code $1" ;;
    esac
}

# field NAME LINE: a text of a line of JSON, as far as there is no escape in it.
field() { printf '%s\n' "$2" | sed -n 's/.*"'"$1"'":"\([^"\\]*\).*/\1/p'; }

# is EVENT LINE: whether a line is that event.
is() {
    case $2 in '{"format_version":1,"event":"'"$1"'"'*) return 0 ;; *) return 1 ;; esac
}

# begin: begins a re-authentication on the host, or goes to the one that waits there. Ends with the line of
# JSON in $event that has to be answered, or that is the outcome; later lines can be read from file descriptor 3.
# The host goes on without us: it waits for the code a quarter of an hour.
begin() {
    mkfifo "$work/events" || fail "no room for a pipe"
    # shellcheck disable=SC2086 # a login is one word, or none
    remote reauth --json --no-browser $login </dev/null >"$work/events" &
    background=$!
    exec 3<"$work/events"
    event=
    while read -r event <&3; do
        for kind in visit enter token mended failed nothing_needed; do
            if is $kind "$event"; then
                return 0
            fi
        done
    done
    wait "$background"
    code=$?
    background=
    unreached "$code"
    fail "$host does not begin a login (exit code $code)"
}

# visit: opens the address of $event.
visit() {
    url=$(field complete "$event")
    [ -n "$url" ] || url=$(field url "$event")
    case $url in
    https://* | http://127.0.0.1[:/]* | http://localhost[:/]*) termux-open-url "$url" ;;
    *) fail "$host names no address that can be opened" ;;
    esac
}
