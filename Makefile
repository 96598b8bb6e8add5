# tokensink: build, test, install. Every target honours CARGO_TARGET_DIR.
#
#   make            release build            make test         everything: setup, lint, deny, all tests
#   make run        see below                make test-unit    tests that need no booted system (some need root)
#   make bench      the figures             make test-system  tests on a booted Debian, with the real CLIs
#   make test-long  what takes an hour      SIM_RUNS=N        how many years it simulates
#   make install    PREFIX, DESTDIR, BINARY make test-openclaw every examined release of OpenClaw, an hour
#   make mutants    SHARD=0/40              make fuzz         FUZZ_SECONDS for each target, FUZZ_TARGETS="json config"
#   make packages   deb and rpm; TARGET     make test-packages installs, upgrades and removes them
#   make source     with every crate        make rebuilt      the packages once more from that, offline
#   make soak       an hour of rotations and restarts

CARGO ?= cargo
CARGO_TARGET_DIR ?= target
# A relative one is relative to this directory, for cargo and for us.
export CARGO_TARGET_DIR
BUILT_IN = $(abspath $(CARGO_TARGET_DIR))$(if $(TARGET),/$(TARGET))
PREFIX ?= /usr/local
DESTDIR ?=
INSTALL ?= install
# For another processor, such as aarch64-unknown-linux-gnu (its compiler and Rust's library for it are to be there).
TARGET ?=
export TARGET
BINARY ?= $(BUILT_IN)/release/tokensink

bindir = $(DESTDIR)$(PREFIX)/bin
libdir = $(DESTDIR)$(PREFIX)/lib
datadir = $(DESTDIR)$(PREFIX)/share

# What the tests need beside the Rust toolchain, as command:package (a command that is there is not installed).
TEST_TOOLS = cc:gcc c++:g++ debootstrap:debootstrap systemd-nspawn:systemd-container nsenter:util-linux \
	setpriv:util-linux ip:iproute2 npm:npm find:findutils dbus-daemon:dbus-daemon \
	systemd-analyze:systemd jq:jq docker-compose:docker-compose podman:podman sshd:openssh-server ssh:openssh-client \
	shellcheck:shellcheck dash:dash zsh:zsh fish:fish inotifywait:inotify-tools mandoc:mandoc strace:strace valgrind:valgrind \
	mkfs.ext4:e2fsprogs dh:debhelper lintian:lintian rpmbuild:rpm rpmlint:rpmlint \
	promtool:prometheus

# Where tools and test fixtures are kept between runs.
TEST_CACHE = $(or $(TOKENSINK_TEST_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tokensink-tests)
DENY = $(or $(shell command -v cargo-deny 2>/dev/null),$(TEST_CACHE)/tools/bin/cargo-deny)

# Test files that boot a system, mount file systems or run the real CLIs; they need root.
SYSTEM_TESTS = alerts system claude_real cli_mode containers crash_login exchange instructions kill_matrix login openclaw_container \
	openclaw_json openclaw_order openclaw_real others_matrix packages phone providers_real reauth refresh_faults refresh_races soak views

.DEFAULT_GOAL := build

# The figures of the hot path beside their targets, in one run of some ten minutes. The profile is the
# bench's own: it only watches, what it watches is the release build. BENCH_OPTIONS="--only idle --idle 600" is an
# example.
bench: TEST_TOOLS += incrond:incron
bench: build setup
	$(CARGO) bench --locked --profile dev --bench hot_path -- $(BENCH_OPTIONS)

.PHONY: crates previous bench build run setup fmt lint deny test test-unit test-system test-long test-openclaw \
	test-packages soak mutants mutants-refresher mutants-installed install uninstall notices packages source fuzz rebuilt sbom

# Where sources lie on the builder's machine is no part of the program: the same sources make the same bytes. The last
# of several that apply is taken. Nor is the time: a library keeps what it finds in SOURCE_DATE_EPOCH, and cargo does
# not build it again when that changes.
CARGO_HOME ?= $(HOME)/.cargo
REMAP = --remap-path-prefix=$(CURDIR)=/tokensink --remap-path-prefix=$(CURDIR)/vendor=/crates \
	$(patsubst %,--remap-path-prefix=%=/crates,$(shell ls -d $(CARGO_HOME)/registry/src/* 2>/dev/null)) \
	--remap-path-prefix=$(abspath $(CARGO_TARGET_DIR))=/target
CROSS = $(if $(TARGET),-C linker=$(subst -unknown,,$(TARGET))-gcc)

# Where cargo keeps crates is known when they are there: what is remapped below must not depend on who ran first.
crates:
	$(CARGO) fetch --locked --quiet

build: crates
	SOURCE_DATE_EPOCH=0 RUSTFLAGS="$(strip $(RUSTFLAGS) $(REMAP) $(CROSS))" $(CARGO) build --release --locked $(if $(TARGET),--target $(TARGET))

# The daemon in the foreground where a configuration exists, else the whole chain in a temporary home.
run: build
	@set -eu; \
	for dir in "$${XDG_CONFIG_HOME:-$$HOME/.config}/tokensink" /etc/tokensink /usr/lib/tokensink; do \
		for file in "$$dir/tokensink.toml" "$$dir"/tokensink.d/*.toml; do \
			if [ -e "$$file" ]; then exec "$(BINARY)" daemon; fi; \
		done; \
	done; \
	exec "$(BINARY)" selftest

# Installs what is missing, as root; anybody else is told.
setup:
	@set -eu; missing=; \
	for tool in $(TEST_TOOLS); do \
		command -v "$${tool%%:*}" >/dev/null 2>&1 || missing="$$missing $${tool#*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
			echo "missing packages:$$missing" >&2; exit 1; \
		fi; \
		apt-get update -q; \
		DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
	fi
	@[ -x "$(DENY)" ] || $(CARGO) install --locked --root "$(TEST_CACHE)/tools" \
		--target-dir "$(TEST_CACHE)/tools/target" cargo-deny

fmt:
	$(CARGO) fmt --check

lint: fmt
	$(CARGO) clippy --all-targets --all-features --locked -- -D warnings

deny:
	"$(DENY)" check bans licenses sources

test: setup lint deny packages previous rebuilt
	@if $(CARGO) nextest --version >/dev/null 2>&1; \
	then exec $(CARGO) nextest run --locked --features failpoints --no-fail-fast; \
	else exec $(CARGO) test --locked --features failpoints --no-fail-fast -- --test-threads=4; fi

test-unit:
	@set -eu; names=; for path in tests/*.rs; do name=$${path#tests/}; name=$${name%.rs}; \
		case " $(SYSTEM_TESTS) " in *" $$name "*) ;; *) names="$$names --test $$name" ;; esac; done; \
	exec $(CARGO) test --locked --features failpoints --lib --bins $$names

test-system: setup packages previous rebuilt
	$(CARGO) test --locked --features failpoints --no-fail-fast $(addprefix --test ,$(SYSTEM_TESTS))

test-packages: setup packages previous rebuilt
	$(CARGO) test --locked --features failpoints --no-fail-fast --test packages --test completions -- --nocapture

# TOKENSINK_LONG=1 is for every test that has a longer form of itself.
SIM_RUNS ?= 3000
test-long: setup packages previous rebuilt
	TOKENSINK_LONG=1 TOKENSINK_SIM_RUNS=$(SIM_RUNS) $(CARGO) test --locked --features failpoints \
		--no-fail-fast --test simulated_year -- --nocapture
	TOKENSINK_LONG=1 $(CARGO) test --locked --features failpoints --no-fail-fast -- --test-threads=4

# One rotation a second while everything around the daemon is restarted; an hour unless SOAK_SECONDS says otherwise.
SOAK_SECONDS ?= 3600
soak: build setup
	TOKENSINK_SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --locked --test soak -- --nocapture

# Changes the pure layers, one place at a time, and asks their tests whether they see it; mutants.out/missed.txt below
# $(MUTANTS) lists what they did not, and timeout.txt what never ended: for a person to judge, and no failure. A fortieth unless SHARD says
# otherwise (0/1 is all); the same shard of the same sources is the same mutants and the same random cases.
# MUTANTS_OPTIONS="--file src/core/plan.rs" is an example.
SHARD ?= 0/40
MUTANTS_OPTIONS ?=
MUTANTS = $(abspath $(CARGO_TARGET_DIR))/mutants
MUTATE = PROPTEST_CASES=8 PROPTEST_RNG_SEED=1 TOKENSINK_SIM_RUNS=0 $(CARGO) mutants --shard $(SHARD) \
	--sharding round-robin --colors never $(MUTANTS_OPTIONS)
mutants: mutants-installed
	sh tests/mutants/tree.sh "$(MUTANTS)/pure"
	cd "$(MUTANTS)/pure" && CARGO_TARGET_DIR="$(MUTANTS)/build" $(MUTATE) --in-place \
		--config "$(CURDIR)/tests/mutants/pure.toml" --output "$(MUTANTS)" || case $$? in 2|3) ;; *) exit 1 ;; esac

# The same for the refreshers, with the whole program.
mutants-refresher: mutants-installed
	@mkdir -p "$(MUTANTS)/refresher"
	$(MUTATE) --config tests/mutants/refresher.toml --output "$(MUTANTS)/refresher" || case $$? in 2|3) ;; *) exit 1 ;; esac

mutants-installed:
	@$(CARGO) mutants --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-mutants

# What is read from outside, against what holds for all of it (tests/corpus), with inputs that LLVM's libFuzzer
# makes. What it finds, and what it has learned, stays in $(FUZZ).
# FUZZ_OPT=2 takes minutes more to build and runs several times as fast: for hours.
FUZZ_SECONDS ?= 2
FUZZ_TARGETS ?=
FUZZ_OPT ?= 0
FUZZ = $(abspath $(CARGO_TARGET_DIR))/fuzz
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
fuzz: setup
	cp Cargo.lock tests/fuzz/Cargo.lock
	cd tests/fuzz && CARGO_TARGET_DIR="$(FUZZ)/build" RUSTC_WRAPPER="$(CURDIR)/tests/fuzz/instrument.sh" \
		$(CARGO) build --target "$(HOST)" --config "profile.dev.package.tokensink.opt-level=$(FUZZ_OPT)"
	tests/fuzz/run.sh "$(FUZZ)/build/$(HOST)/debug/fuzz" "$(FUZZ)" "$(FUZZ_SECONDS)" $(FUZZ_TARGETS)

# The whole matrix, one release after the other; `make test` has a few of them. RELEASES="2026.7.1" picks some.
test-openclaw: setup
	$(CARGO) test --locked --features failpoints --no-fail-fast --test openclaw_real --test openclaw_json \
		--test openclaw_order -- --include-ignored --nocapture --test-threads=1

# --- packages -------------------------------------------------------------------------------------------
# Everything that is made for them lies here.
PACKAGES = $(BUILT_IN)/packages
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The time that is written into packages: of the last commit, or of the change log where there is no git.
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),$(shell date -r CHANGELOG.md +%s))
NOTICES = $(BUILT_IN)/third-party-notices
SBOM = $(BUILT_IN)/tokensink.cdx.json
export SOURCE_DATE_EPOCH

notices:
	@mkdir -p "$(BUILT_IN)"
	CARGO="$(CARGO)" sh packaging/notices.sh >"$(NOTICES).part" && mv "$(NOTICES).part" "$(NOTICES)"

sbom:
	@mkdir -p "$(BUILT_IN)"
	CARGO="$(CARGO)" sh packaging/sbom.sh >"$(SBOM).part" && mv "$(SBOM).part" "$(SBOM)"

# The sources with every crate they need: builds without a network.
source:
	CARGO="$(CARGO)" sh packaging/source.sh "$(PACKAGES)/tokensink-$(VERSION).tar.gz" "$(VERSION)"

PACK = CARGO="$(CARGO)" CARGO_TARGET_DIR="$(abspath $(CARGO_TARGET_DIR))" sh packaging/packages.sh "$(abspath $(BINARY))"

# The same under an older version, for the test of an upgrade.
previous: build notices sbom
	$(PACK) "$(BUILT_IN)/previous" 0.0.1

packages: build notices sbom
	$(PACK) "$(PACKAGES)" "$(VERSION)"

# The packages once more, from the archive alone, for the test that they are the same bytes.
rebuilt: packages source
	sh packaging/rebuild.sh "$(PACKAGES)/tokensink-$(VERSION).tar.gz" "$(BUILT_IN)/rebuilt"

# Installs whichever of these files exist.
install:
	@[ -x "$(BINARY)" ] || { echo "$(BINARY) is not there; run make first" >&2; exit 1; }
	$(INSTALL) -D -m 0755 "$(BINARY)" "$(bindir)/tokensink"
	@set -eu; put() { [ -e "$$1" ] || return 0; echo "$(INSTALL) -D -m 0644 $$1 $$2"; \
		$(INSTALL) -D -m 0644 "$$1" "$$2"; }; \
	put units/user/tokensink.service "$(libdir)/systemd/user/tokensink.service"; \
	put units/system/tokensink@.service "$(libdir)/systemd/system/tokensink@.service"; \
	put packaging/catalog/tokensink.catalog "$(libdir)/systemd/catalog/tokensink.catalog"; \
	put packaging/preset/50-tokensink.preset "$(libdir)/systemd/user-preset/50-tokensink.preset"; \
	put packaging/dbus/org.tokensink.Daemon1.service "$(datadir)/dbus-1/services/org.tokensink.Daemon1.service"; \
	put packaging/dbus/org.tokensink.Daemon1.xml "$(datadir)/dbus-1/interfaces/org.tokensink.Daemon1.xml"; \
	for section in 1 5 8; do for page in man/*.$$section; do \
		put "$$page" "$(datadir)/man/man$$section/$${page##*/}"; done; done; \
	for page in README.md CHANGELOG.md SECURITY.md LICENSE-APACHE LICENSE-MIT docs/*.md; do \
		put "$$page" "$(datadir)/doc/tokensink/$${page##*/}"; done; \
	for list in "$(NOTICES)" "$(SBOM)"; do put "$$list" "$(datadir)/doc/tokensink/$${list##*/}"; done; \
	for page in docs/formats/*.md; do put "$$page" "$(datadir)/doc/tokensink/formats/$${page##*/}"; done; \
	for example in packaging/examples/*; do \
		put "$$example" "$(datadir)/doc/tokensink/examples/$${example##*/}"; done; \
	for widget in packaging/termux/*; do \
		put "$$widget" "$(datadir)/tokensink/termux/$${widget##*/}"; done; \
	put packaging/completions/tokensink.bash "$(datadir)/bash-completion/completions/tokensink"; \
	put packaging/completions/_tokensink "$(datadir)/zsh/site-functions/_tokensink"; \
	put packaging/completions/tokensink.fish "$(datadir)/fish/vendor_completions.d/tokensink.fish"
	@chmod 0755 "$(datadir)"/tokensink/termux/tokensink-[!p]*
	@for unit in user/tokensink.service system/tokensink@.service; do \
		[ ! -e "$(libdir)/systemd/$$unit" ] || \
		sed -i 's|@bindir@|$(PREFIX)/bin|g' "$(libdir)/systemd/$$unit"; done
	@[ -n "$(DESTDIR)" ] || ! command -v journalctl >/dev/null || journalctl --update-catalog || true

uninstall:
	rm -f "$(bindir)/tokensink" "$(libdir)/systemd/user/tokensink.service" \
		"$(libdir)/systemd/system/tokensink@.service" "$(libdir)/systemd/catalog/tokensink.catalog" \
		"$(libdir)/systemd/user-preset/50-tokensink.preset" "$(datadir)/bash-completion/completions/tokensink" "$(datadir)/zsh/site-functions/_tokensink" \
		"$(datadir)/fish/vendor_completions.d/tokensink.fish" \
		"$(datadir)/dbus-1/services/org.tokensink.Daemon1.service" \
		"$(datadir)/dbus-1/interfaces/org.tokensink.Daemon1.xml" \
		"$(datadir)/man/man5/org.tokensink.Daemon1.5" "$(datadir)"/man/man[158]/tokensink*.[158]
	rm -rf "$(datadir)/doc/tokensink" "$(datadir)/tokensink"
	@[ -n "$(DESTDIR)" ] || ! command -v journalctl >/dev/null || journalctl --update-catalog || true
