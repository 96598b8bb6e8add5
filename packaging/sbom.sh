#!/bin/sh
# Prints the bill of materials of the program as CycloneDX 1.6: what packaging/linked.sh lists, with the licence that
# each crate states, the checksum of Cargo.lock and who needs whom. The same bytes for the same sources, compiler and
# SOURCE_DATE_EPOCH; hence without a serial number, which would have to be another one for each build. Usage: sbom.sh
# (in the source directory; needs cargo, jq).
set -eu
epoch=${SOURCE_DATE_EPOCH:?}
compiler=$(${RUSTC:-rustc} -vV)
target=${TARGET:-$(printf '%s\n' "$compiler" | sed -n 's/^host: //p')}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
sh packaging/linked.sh "$target" >"$scratch/linked"
"${CARGO:-cargo}" metadata --locked --format-version 1 --filter-platform "$target" >"$scratch/metadata"

jq --null-input --sort-keys --arg target "$target" --arg time "$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" \
	--arg std "$(printf '%s\n' "$compiler" | sed -n 's/^release: //p')" --rawfile linked "$scratch/linked" \
	--rawfile lock Cargo.lock --slurpfile metadata "$scratch/metadata" '
def key: "\(.name) \(.version)";
# What comes from no registry, this program, is of no known type.
def purl: "pkg:\(if .source then "cargo" else "generic" end)/\(.name)@\(.version | gsub("\\+"; "%2B"))";
# Older crates write "/" where SPDX has "OR".
def licences: if .license then [{expression: .license | gsub(" */ *"; " OR ")}]
	else [{license: {name: "see its files"}}] end;
$metadata[0] as $all
| ($linked | rtrimstr("\n") | split("\n") | map({key: ., value: true}) | from_entries) as $linked
| ($lock | split("[[package]]\n")[1:] | map(
	[capture("(?m)^(?<key>name|version|checksum) = \"(?<value>[^\"]*)\"$"; "g")] | from_entries
	| select(.checksum) | {key: key, value: .checksum}) | from_entries) as $checksums
| ($all.packages | map(select(.id == $all.resolve.root))[0]) as $program
| ($all.packages | map(select($linked[key])) | sort_by(key)) as $crates
| ($crates + [$program] | map({key: .id, value: purl}) | from_entries) as $known
| "pkg:generic/rust-std@\($std)" as $library
| {
	bomFormat: "CycloneDX", specVersion: "1.6", version: 1,
	"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
	metadata: {
		timestamp: $time, lifecycles: [{phase: "build"}],
		supplier: {name: "The tokensink developers"},
		component: ($program | {type: "application", "bom-ref": purl, name, version, description, licenses: licences,
			purl: purl, properties: [{name: "tokensink:target", value: $target}]})
	},
	components: ([$crates[] | {type: "library", "bom-ref": purl, name, version, scope: "required",
			hashes: [{alg: "SHA-256", content: $checksums[key]}], licenses: licences, purl: purl}]
		# Linked into every program; in no lock file, a part of the compiler.
		+ [{type: "library", "bom-ref": $library, name: "std", version: $std, scope: "required",
			licenses: [{expression: "(MIT OR Apache-2.0) AND Unicode-3.0"}], purl: $library}]),
	dependencies: ([$all.resolve.nodes[] | select($known[.id]) | {ref: $known[.id], dependsOn:
			([.deps[] | select(any(.dep_kinds[]; .kind == null)) | $known[.pkg] | values] | unique)}]
		| map(if .ref == ($program | purl) then .dependsOn += [$library] else . end) | sort_by(.ref)
		+ [{ref: $library, dependsOn: []}])
}'
