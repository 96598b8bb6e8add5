#!/bin/sh
# RUSTC_WRAPPER of `make fuzz`: coverage counters in what is fuzzed and in the parsers below it, and in nothing
# else: counting in tokio, clap or TLS would cost time in each run and lead nowhere. Crates for the compiler
# itself (macros, build scripts) have no --target and no fuzzer to count for.
set -eu
case " $* " in
*" --target "*)
	case ${CARGO_PKG_NAME:-} in
	tokensink | serde_json | jsonc-parser | toml | toml_parser | vte | httpdate | humantime)
		set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
			-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
			-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
		;;
	esac
	;;
esac
exec "$@"
