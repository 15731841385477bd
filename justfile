# The same as the Makefile, for those who have just.

# The gate before every merge. Changes nothing.
check:
    .ci/run fmt clippy test doc examples

# Everything that CI does: the gate and a demo run.
ci:
    .ci/run

# Changes what a tool can.
fix:
    cargo clippy --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# Watch a cluster in this terminal.
demo:
    cargo run --release -- demo
