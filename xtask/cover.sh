#!/bin/sh
# Cargo calls it instead of the compiler for crates of the workspace: in those that are fuzzed it counts which edges of the code are taken,
# and tells what is compared. The flags are stable. Without a sanitizer, which would need a nightly compiler, a fault is a panic - which it
# is in code without `unsafe`.
case " $* " in
*" --crate-name airlock "* | *" --crate-name airlock_fuzz "* | *" --crate-name libfuzzer "*)
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$@"
