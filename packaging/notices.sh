#!/bin/sh
# Prints the licences of everything that is linked into the program: name, version, licence expression, and the text
# of every licence and notice file that the crate ships. Usage: notices.sh (in the source directory; needs cargo, jq).
set -eu
rustc=${RUSTC:-rustc}
target=${TARGET:-$("$rustc" -vV | sed -n 's/^host: //p')}

crates=$("${CARGO:-cargo}" metadata --locked --format-version 1 --filter-platform "$target")
linked=$(sh packaging/linked.sh "$target")

echo "tokensink contains the following libraries by others."
printf '%s\n' "$crates" | jq -r --arg linked "$linked" '
	($linked | split("\n") | map({key: ., value: true}) | from_entries) as $linked
	| .packages | map(. + {is: "\(.name) \(.version)"}) | map(select($linked[.is])) | sort_by(.is)[]
	| [.is, .license // ("see " + (.license_file // "its files")), (.manifest_path | sub("/Cargo.toml$"; ""))] | @tsv' |
	while IFS="$(printf '\t')" read -r crate licence directory; do
		printf '\n==== %s (%s)\n' "$crate" "$licence"
		find "$directory" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' \
			-o -iname 'copyright*' -o -iname 'unlicense*' \) -printf '%f\n' | LC_ALL=C sort | while read -r file; do
			printf '\n-- %s\n\n' "$file"
			cat "$directory/$file"
		done
	done

# The compiler's own library, with the notices of what is inside it where the compiler brings them.
printf '\n==== std %s ((MIT OR Apache-2.0) AND Unicode-3.0)\n' "$("$rustc" -vV | sed -n 's/^release: //p')"
copyright=$("$rustc" --print sysroot)/share/doc/rust/COPYRIGHT-library.html
if [ -f "$copyright" ]; then
	printf '\n-- COPYRIGHT-library\n\n'
	sed 's/<[^>]*>//g; s/&#34;/"/g; s/&#39;/'"'"'/g; s/&#60;/</g; s/&#62;/>/g; s/&amp;/\&/g' "$copyright" | cat -s
fi
