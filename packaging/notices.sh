#!/bin/sh
# Prints the licences of everything that is linked into the program: name, version, licence expression, and the text
# of every licence and notice file that the crate ships. Usage: notices.sh (in the source directory; needs cargo, jq).
set -eu
cargo=${CARGO:-cargo}
target=${TARGET:-$(${RUSTC:-rustc} -vV | sed -n 's/^host: //p')}

crates=$("$cargo" metadata --locked --format-version 1 --filter-platform "$target")
# What is linked: normal dependencies, no build scripts, no tests.
linked=$("$cargo" tree --locked --edges normal,no-proc-macro --target "$target" --prefix none --format '{p}' |
	sed 's/ (.*//; s/ v\([0-9]\)/ \1/' | LC_ALL=C sort -u)

echo "tokensink contains the following libraries by others."
echo "$linked" | while read -r name version; do
	[ "$name" != tokensink ] || continue
	printf '%s\n' "$crates" | jq -r --arg name "$name" --arg version "$version" \
		'.packages[] | select(.name == $name and .version == $version) |
		[(.license // ("see " + (.license_file // "its files"))), (.manifest_path | sub("/Cargo.toml$"; ""))] | @tsv' |
		while IFS="$(printf '\t')" read -r licence directory; do
			printf '\n==== %s %s (%s)\n' "$name" "$version" "$licence"
			find "$directory" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' \
				-o -iname 'copyright*' -o -iname 'unlicense*' \) -printf '%f\n' | LC_ALL=C sort | while read -r file; do
				printf '\n-- %s\n\n' "$file"
				cat "$directory/$file"
			done
		done
done
