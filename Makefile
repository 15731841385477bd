# `make check` is the gate before every merge and changes nothing; `make fix` changes what a tool can.
.PHONY: check ci fix demo

check:
	.ci/run fmt clippy test doc examples

ci:
	.ci/run

fix:
	cargo clippy --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

demo:
	cargo run --release -- demo
