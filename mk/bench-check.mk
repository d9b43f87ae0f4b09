# Speed of two builds, how cost grows, and the yardstick of `make bench`.

# A bare io_uring loop, the yardstick for callbacks on threads.
YARDSTICK_SOURCES := bench/yardstick.c tools/blkalign-bench/measure.c \
                     $(wildcard tools/common/*.c)

build/bench/yardstick: $(YARDSTICK_SOURCES) tools/blkalign-bench/measure.h \
                       $(wildcard tools/common/*.h)
	@mkdir -p $(@D)
	$(CC) $(TOOL_CFLAGS) -Itools/blkalign-bench $(YARDSTICK_SOURCES) -o $@ \
	    $(LDFLAGS) -lpthread

.PHONY: bench-check bench-growth

## bench-check: which rows moved since REV (last tag or HEAD~1), as root
bench-check: build/tools/blkalign-bench
	BLKALIGN_BENCH=$< scripts/bench-check $(REV)

## bench-growth: cost with few and many requests, handles, pieces, as root
bench-growth: build/tools/blkalign-bench
	BLKALIGN_BENCH=$< scripts/bench --growth
