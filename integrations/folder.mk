# The Makefile of a folder here: `make` in it builds what its build.mk says.
name := $(notdir $(CURDIR))

.PHONY: $(name)
$(name):
	$(MAKE) --no-print-directory -C ../.. $@
