#!/bin/sh
# tree.sh DIRECTORY: lays out a crate of the pure layers and their tests (lib.rs beside this), to be changed in place.
# Its versions are the program's. Files are as new as the copy: a build of a changed tree is never taken for this one.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
tree=$1

# What these layers use of others; tests/architecture.rs compares.
CRATES="base64 form_urlencoded hmac humantime jsonc-parser secrecy serde serde_json sha2 vte zeroize"
TEST_CRATES="proptest"

rm -rf "$tree/src" "$tree/tests"
mkdir -p "$tree/src" "$tree/tests/corpus"
cp -R "$root/src/base" "$root/src/format" "$root/src/core" "$tree/src/"
cp "$root/tests/mutants/lib.rs" "$tree/src/"
cp -R "$root/tests/alerts" "$root/tests/format" "$root/tests/format.rs" "$root/tests/plan" "$root/tests/plan.rs" \
	"$root/tests/simulated_year" "$root/tests/simulated_year.rs" "$tree/tests/"
# The properties of the formats share a file with the corpus.
cp -R "$root/tests/corpus/properties" "$tree/tests/corpus/"
cp "$root/Cargo.lock" "$tree/"

of() { for name in "$@"; do grep -m 1 "^$name = " "$root/Cargo.toml"; done; }
{
	printf '[package]\nname = "tokensink"\n'
	grep -m 3 -E '^(version|edition|rust-version) = ' "$root/Cargo.toml"
	printf '\n[lib]\ndoctest = false\n\n[dependencies]\n'
	# shellcheck disable=SC2086 # a list
	of $CRATES
	printf '\n[dev-dependencies]\n'
	of $TEST_CRATES
	# Built some hundred times; what it needs of others once.
	printf '\n[profile.dev]\ndebug = 0\n\n[profile.dev.package."*"]\nopt-level = 2\n\n[workspace]\n'
} >"$tree/Cargo.toml"
