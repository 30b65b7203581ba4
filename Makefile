# Names for calls of cargo and xtask; no logic lives here.

.PHONY: test extra tidy setup release bookinfo cluster-up cluster-down conformance

# All checks and tests, with totals. Installs what it needs.
test:
	cargo xtask test

# Documentation, licences, fuzz targets, features alone, packages.
extra:
	cargo xtask extra

# The house style alone.
tidy:
	cargo xtask tidy

# What the tests need beside Rust.
setup:
	cargo xtask setup

# Our programs for other machines: optimised by a profile of their own work, and static.
release:
	cargo xtask release --profile

# The sample application in a mesh on this machine.
bookinfo:
	cargo run -p meshctl -- up examples/bookinfo

# A Kubernetes node on this machine, as root; the first time it builds one.
cluster-up:
	cargo run -q -p conformance -- up

# Ends it and leaves nothing.
cluster-down:
	cargo run -q -p conformance -- down

# Every gateway test of the upstream suite, on both channels' definitions; writes the reports.
conformance:
	cargo xtask conformance
