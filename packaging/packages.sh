#!/bin/sh
# Packs what `make build notices sbom` has built: packages.sh PROGRAM DIRECTORY VERSION (in the source directory). Both
# formats take their files from `make install`; a format whose tools are missing is left out and said. TARGET is what
# the program was compiled for, where that is not this machine; SOURCE_DATE_EPOCH is the time in the packages.
set -eu
binary=$1
out=$2
version=$3
epoch=${SOURCE_DATE_EPOCH:?}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$out"
rm -f "$out"/*.deb "$out"/*.rpm

# The sources as a builder would unpack them.
tree=$scratch/tokensink-$version
mkdir "$tree"
${CARGO:-cargo} package --list --allow-dirty --locked 2>/dev/null | while read -r file; do
	[ -f "$file" ] || continue
	mkdir -p "$tree/$(dirname "$file")"
	cp -p "$file" "$tree/$file"
done
find "$tree" -exec touch --no-dereference --date="@$epoch" {} +
chmod -R u=rwX,go=rX "$tree"
chmod 0755 "$tree/packaging/deb/rules"

if command -v dpkg-buildpackage >/dev/null && command -v dh >/dev/null; then
	deb=$scratch/deb
	mkdir "$deb"
	cp -a "$tree" "$deb/"
	cp -a "$deb/tokensink-$version/packaging/deb" "$deb/tokensink-$version/debian"
	{
		printf 'tokensink (%s-1) unstable; urgency=medium\n\n' "$version"
		printf '  * New release; see changelog.gz beside this file.\n\n'
		printf ' -- %s  %s\n' "$(sed -n 's/^Maintainer: //p' packaging/deb/control)" "$(LC_ALL=C date -u -R -d "@$epoch")"
	} >"$deb/tokensink-$version/debian/changelog"
	# It is built already: what Build-Depends names is not needed.
	(cd "$deb/tokensink-$version" &&
		BUILT=$binary dpkg-buildpackage --build=binary --no-sign --no-check-builddeps \
			${TARGET:+--host-type="$(echo "$TARGET" | sed 's/-unknown//')"}) \
		>"$scratch/deb.log" 2>&1 || { cat "$scratch/deb.log" >&2; exit 1; }
	cp "$deb"/*.deb "$out/"
else
	echo "packages: no deb (dpkg-dev and debhelper are missing)" >&2
fi

if command -v rpmbuild >/dev/null; then
	rpm=$scratch/rpm
	mkdir -p "$rpm/SOURCES"
	tar -C "$scratch" -czf "$rpm/SOURCES/tokensink-$version.tar.gz" "tokensink-$version"
	{
		cat packaging/rpm/tokensink.spec
		printf '* %s %s - %s-1\n- New release; see CHANGELOG.md.\n' "$(LC_ALL=C date -u -d "@$epoch" '+%a %b %d %Y')" \
			"$(sed -n 's/^Maintainer: //p' packaging/deb/control)" "$version"
	} >"$rpm/tokensink.spec"
	rpmbuild -bb --quiet ${TARGET:+--target "${TARGET%%-*}-linux"} --define "_topdir $rpm" \
		--define "tokensink_version $version" --define "built $binary" \
		--define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \
		--define '_buildhost builder' "$rpm/tokensink.spec" >"$scratch/rpm.log" 2>&1 ||
		{ cat "$scratch/rpm.log" >&2; exit 1; }
	find "$rpm/RPMS" -name '*.rpm' -exec cp {} "$out/" \;
else
	echo "packages: no rpm (rpmbuild is missing)" >&2
fi
ls -l "$out"
