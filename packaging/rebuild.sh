#!/bin/sh
# Builds the packages a second time, from the source archive: rebuild.sh ARCHIVE DIRECTORY (needs unshare and what
# `make packages` needs). The two builds share the tools and nothing else: there is no network, no registry of
# crates, no git, and path, home, time zone, language and umask are others. DIRECTORY holds what came of it, to be
# compared. The same archive is not built again by the same compiler.
set -eu
archive=$(realpath "$1")
out=$(realpath -m "$2")
# Behind a front such as rustup's, which would look for a toolchain in the home.
tools=$(${RUSTC:-rustc} --print sysroot)/bin
made_of="$(sha256sum <"$archive") $("$tools/rustc" --version)"
[ "$(cat "$out/made-of" 2>/dev/null)" != "$made_of" ] || exit 0

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
umask 077
mkdir "$scratch/home"
tar -C "$scratch" --no-same-owner --no-same-permissions -xzf "$archive"
cd "$scratch"/tokensink-*
apart="unshare --net"
[ "$(id -u)" = 0 ] || apart="unshare --map-root-user --net"
# The directory of a build is where it is when nobody says otherwise.
$apart env -i PATH="$tools:/usr/sbin:/usr/bin:/sbin:/bin" HOME="$scratch/home" TZ=Pacific/Chatham LC_ALL=C.UTF-8 \
	RUSTFLAGS="${RUSTFLAGS:-}" TARGET="${TARGET:-}" make packages

umask 022
rm -rf "$out"
mkdir -p "$out"
cp "target/${TARGET:+$TARGET/}packages"/* "$out/"
printf '%s\n' "$made_of" >"$out/made-of"
