#!/bin/sh
# Writes the source with every crate it needs on Linux into one archive, the same bytes for the same sources:
# source.sh FILE.tar.gz VERSION (in the source directory; needs cargo, jq). It builds without a network.
set -eu
archive=$(realpath -m "$1")
version=$2
cargo=${CARGO:-cargo}
epoch=${SOURCE_DATE_EPOCH:?}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
top=$scratch/tokensink-$version

mkdir "$top"
"$cargo" package --list --allow-dirty --locked 2>/dev/null | while read -r file; do
	[ -f "$file" ] || continue
	mkdir -p "$top/$(dirname "$file")"
	cp -p "$file" "$top/$file"
done
mkdir "$top/.cargo"
(cd "$top" && "$cargo" vendor --locked --versioned-dirs vendor >.cargo/config.toml 2>"$scratch/vendor.log") ||
	{ cat "$scratch/vendor.log" >&2; exit 1; }

# Crates of other systems are named by the lock file and never compiled: their sources are left out.
used=$scratch/used
: >"$used"
for target in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu; do
	(cd "$top" && "$cargo" tree --locked --offline --all-features --target "$target" --prefix none --format '{p}') |
		sed 's/ (.*//; s/ v\([0-9]\)/-\1/' >>"$used"
done
for directory in "$top"/vendor/*; do
	grep -qxF "$(basename "$directory")" "$used" && continue
	package=$(jq -c '.package' "$directory/.cargo-checksum.json")
	find "$directory" -mindepth 1 -maxdepth 1 ! -name Cargo.toml -exec rm -rf {} +
	mkdir "$directory/src"
	: >"$directory/src/lib.rs"
	printf '{"files":{},"package":%s}' "$package" >"$directory/.cargo-checksum.json"
done

mkdir -p "$(dirname "$archive")"
find "$top" -exec touch --no-dereference --date="@$epoch" {} +
chmod -R u=rwX,go=rX "$top"
tar --sort=name --owner=0 --group=0 --numeric-owner --format=posix \
	--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
	-C "$scratch" -c "tokensink-$version" | gzip -n -9 >"$archive.part"
mv "$archive.part" "$archive"
