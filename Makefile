# Names for calls of cargo and xtask; no logic lives here.

.PHONY: test extra tidy setup bookinfo

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

# The sample application in a mesh on this machine.
bookinfo:
	cargo run -p meshctl -- up examples/bookinfo
