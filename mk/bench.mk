# Speed, and what other block back ends keep.

.PHONY: bench-smoke bench-tracker conformance
### Measurements
## bench-smoke: a moment of it, to show that it runs
bench-smoke: build/tools/blkalign-bench build/bench/yardstick
	BLKALIGN_BENCH=$< scripts/bench --smoke
	BLKALIGN_BENCH=$< scripts/bench --growth --smoke

## bench-tracker: what the request machine costs, with few and many in flight
bench-tracker:
	$(CARGO) bench --locked -p blkalign-bench-machine --bench tracker \
	    --target-dir $(TARGET)

## conformance: docs/CONFORMANCE.md's tables anew, as root, some minutes
conformance: build/tools/blkalign-torture
	BLKALIGN_TORTURE=$< tools/blkalign-torture/survey.sh
