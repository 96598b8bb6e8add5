#!/bin/sh
# Prints the crates that are linked into the program, "name version" on each line: normal dependencies, no build
# scripts, no macros, no tests. Usage: linked.sh [TARGET] (in the source directory; needs cargo).
set -eu
target=${1:-$(${RUSTC:-rustc} -vV | sed -n 's/^host: //p')}
# Not piped: cargo's failure is ours.
tree=$("${CARGO:-cargo}" tree --locked --edges normal,no-proc-macro --target "$target" --prefix none --format '{p}')
printf '%s\n' "$tree" | sed 's/ (.*//; s/ v\([0-9]\)/ \1/' | grep -v '^tokensink ' | LC_ALL=C sort -u
