# nodedot: what users and developers type. `make help` lists the targets.

# ---- Settings: give them on the command line, as in `make CC=clang STATIC=0` -----------------------------------------

ifeq ($(origin CC),default)
CC := gcc
endif
# address,undefined, or thread: a build with these sanitizers, in a folder of its own
SANITIZE ?=
BUILD ?= $(if $(SANITIZE),$(if $(findstring thread,$(SANITIZE)),build-tsan,build-asan),build)
# 1: one static position-independent executable; 0: Debian's shared libraries
STATIC ?= $(if $(SANITIZE),0,1)
# 1: show commands
V ?= 0
# make run: the configuration; empty: a demonstration with Unbound as upstream
CONFIG ?=
# make fuzz: time for each target, and what makes the inputs: libfuzzer or afl (AFL++)
SECONDS ?= 60
ENGINE ?= libfuzzer
# make soak: how long, and more options of tests/soak/soak.py
MINUTES ?= 2
SOAK ?=
# make bench: options of tests/bench/run
BENCH ?=
PREFIX ?= /usr/local
DESTDIR ?=
VERSION ?= $(eval VERSION := $(shell scripts/version))$(VERSION)
# make image: its name, and another platform than this machine's (linux/arm64; the kernel must be able to run it)
IMAGE ?= localhost/nodedot:dev
PLATFORM ?=

OPTIMIZE ?= -O2 -g
CFLAGS ?=
LDFLAGS ?=

# ---- How make behaves ------------------------------------------------------------------------------------------------

MAKEFLAGS += --no-builtin-rules
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
# Several targets on one command line are done one after the other, as they are written; each uses all cores.
ifneq ($(filter-out 0 1,$(words $(MAKECMDGOALS))),)
.NOTPARALLEL:
endif
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
.DEFAULT_GOAL := all

ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2)
endif
MAKE_QUIETLY = $(Q)$(MAKE) --no-print-directory

# ---- What is built from what -----------------------------------------------------------------------------------------

SOURCES := $(sort $(shell find src -name '*.c'))
OBJECTS := $(SOURCES:%.c=$(BUILD)/obj/%.o)
MAIN    := $(BUILD)/obj/src/main.o
LIBRARY := $(BUILD)/libnodedot.a
# Only these are compiled anew when the version changes.
VERSIONED := $(patsubst %.c,$(BUILD)/obj/%.o,$(shell grep -rlw NODEDOT_VERSION src --include='*.c'))

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(sort $(wildcard tests/unit/test_*.c)))
# Those whose threads share memory, for ThreadSanitizer.
THREAD_TESTS := admission cache query_log query_ring quota ring_model
FUZZERS    := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
# Each fuzz target's seeds, played without a fuzzer.
REPLAYS    := $(FUZZERS:$(BUILD)/fuzz/fuzz_%=$(BUILD)/unit/replay_%)

# A unit test is linked with the library, which gives it what it does not define itself. One whose fakes clash with that
# names the sources it wants instead (test_thing_SOURCES := src/node/thing.c), and options for the linker
# (test_thing_LDFLAGS := -Wl,--wrap=fork). One that wants sources of its own besides names them too (test_thing_WITH :=
# tests/simulation/loop.c); all of this goes for fuzz targets as well.
SIMULATION := $(sort $(wildcard tests/simulation/*.c))

test_simulation_WITH    := $(SIMULATION)
fuzz_resolver_WITH      := $(SIMULATION)
# What it plays itself comes before what the library has of the same name.
test_simulation_LDFLAGS := -Wl,-z,muldefs,--wrap=log_write,--wrap=calloc,--wrap=free
fuzz_resolver_LDFLAGS   := $(test_simulation_LDFLAGS)
fuzz_stream_WITH        := tests/simulation/loop.c tests/simulation/network.c
fuzz_stream_LDFLAGS     := -Wl,-z,muldefs
test_reachability_LDFLAGS   := -Wl,--wrap=identity_check,--wrap=log_write,--wrap=clock_wall_seconds

# ---- Compiler and linker ---------------------------------------------------------------------------------------------

HASH := \#
# Is an option known? Asked when the first file is compiled, not before: `make run` installs the compiler.
knows   = $(if $(shell printf '$(HASH)include <stdio.h>\n' | $(CC) -Werror $(OPTIMIZE) $(1) -x c -c -o /dev/null - 2>&1),,$(1))
once    = $(eval $(1) := $(2))$($(1))
missing = $(if $(shell command -v $(firstword $(CC))),,$(error no $(CC) here: scripts/install-dependencies build))

FORTIFY   = $(call once,FORTIFY,$(firstword $(call knows,-D_FORTIFY_SOURCE=3) -D_FORTIFY_SOURCE=2))
# Marks where a jump or a return may land, for processors that check: one option for x86, the other for ARM.
CONTROL   = $(call once,CONTROL,$(foreach option,-fcf-protection=full -mbranch-protection=standard,$(call knows,$(option))))
# What nobody initialized is zero, not what lay there; and a large frame touches every page of the stack, guard included.
INITIAL   = $(call once,INITIAL,$(call knows,-ftrivial-auto-var-init=zero))
CLASH     = $(call once,CLASH,$(call knows,-fstack-clash-protection))
HARDENING = -fstack-protector-strong -fno-strict-aliasing -fno-delete-null-pointer-checks $(CONTROL) $(INITIAL) $(CLASH)
WARNINGS  = -Wall -Wextra -Wshadow -Wconversion -Werror

ifeq ($(SANITIZE),)
MODE      = $(FORTIFY) $(HARDENING) -fPIE
LINK_MODE = $(if $(filter 0,$(STATIC)),-pie,-static-pie)
else
MODE      = -DNODEDOT_SANITIZED -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer -fPIE
LINK_MODE = -fsanitize=$(SANITIZE) -pie
endif
# ThreadSanitizer does not know fences, which gcc says. It still finds what threads share without an atomic or a lock.
ifneq ($(findstring thread,$(SANITIZE)),)
WARNINGS += $(call once,FENCES,$(call knows,-Wno-tsan))
endif

COMPILE = $(CC) -std=gnu11 -D_GNU_SOURCE -Iinclude -Itests $(OPTIMIZE) $(WARNINGS) $(MODE) -ffunction-sections -fdata-sections \
	-pthread $(CFLAGS)
LINK    = $(CC) $(OPTIMIZE) -pthread -Wl,--gc-sections -Wl,-z,relro,-z,now,-z,noexecstack $(LDFLAGS)
# --wrap: see tls.c
LIBS    = -Wl,--wrap=wc_InitRng,--wrap=wc_InitRng_ex -lwolfssl -lev -linih -lfstrm -lseccomp -lm

# ---- Build -----------------------------------------------------------------------------------------------------------

.PHONY: all
all: $(BUILD)/nodedot ## build build/nodedot (the default)

# The unstripped program, for debuggers and profilers, stays beside the one that is installed.
$(BUILD)/nodedot: $(BUILD)/nodedot.debug
	$(call say,STRIP,$@)
	$(Q)$(if $(SANITIZE),cp,strip -o $@) $< $(if $(SANITIZE),$@)

# A static program can look up names in /etc/hosts and DNS, and `nodedot pin HOST` needs no more; for other name services
# it would want shared libraries, which is what the linker says and nobody needs to read. (With --no-warnings ld 2.40
# passes over undefined symbols.)
$(BUILD)/nodedot.debug: $(MAIN) $(LIBRARY)
	$(call say,LINK,$@)
	$(Q)$(LINK) $(LINK_MODE) -Wl,-Map=$@.map -o $@ $^ $(LIBS) 2>$@.log || { cat $@.log >&2; exit 1; }
	$(Q)grep -vE 'getaddrinfo|: in function ' $@.log >&2 || true

$(LIBRARY): $(filter-out $(MAIN),$(OBJECTS)) $(BUILD)/sources
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcsD $@ $(filter %.o,$^)

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(missing)$(COMPILE) -MMD -MP -c -o $@ $<

$(VERSIONED): $(BUILD)/version
$(VERSIONED): private COMPILE += -DNODEDOT_VERSION='"$(VERSION)"'

# Files that change when what they tell changes: another compiler or option, a source less, another version.
.PHONY: FORCE
escaped = '$(subst ','\'',$(1))'
remember = $(Q)mkdir -p $(@D) && printf '%s\n' $(escaped) | cmp -s - $@ || printf '%s\n' $(escaped) >$@
$(BUILD)/flags: FORCE
	$(call remember,$(missing)$(COMPILE) $(LINK) $(LINK_MODE))
$(BUILD)/sources: FORCE
	$(call remember,$(SOURCES))
$(BUILD)/version: FORCE
	$(call remember,$(VERSION))

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# ---- Run -------------------------------------------------------------------------------------------------------------

.PHONY: run
run: ## install what is missing, build, and answer on 127.0.0.1:5353 (CONFIG=FILE: with that configuration)
	@scripts/install-dependencies build $(if $(CONFIG),,run)
	+$(MAKE_QUIETLY) all
	@scripts/run-demo $(BUILD)/nodedot $(CONFIG)

# ---- Test ------------------------------------------------------------------------------------------------------------

.PHONY: test check test-unit test-blackbox sanitize sanitize-threads test-clocks thread-tests unit-tests
test: ## install what is missing, build, and run all tests
	@scripts/install-dependencies build test
	+$(MAKE_QUIETLY) all unit-tests
	@scripts/run-tests $(BUILD) unit blackbox

check: test ## the same as test

test-unit: unit-tests ## run the unit tests alone (`make test` installs what they need)
	@scripts/run-tests $(BUILD) unit

test-blackbox: all ## run the black-box tests alone (`make test` installs what they need)
	@scripts/run-tests $(BUILD) blackbox

# Those black-box tests that wait for time to pass.
CLOCK_TESTS := $(addprefix tests/blackbox/test_,cookies.py limits.py)
test-clocks: ## run unit tests and some black-box tests a second and 400 days after boot
	@scripts/install-dependencies build test
	+$(MAKE_QUIETLY) all unit-tests
	@scripts/test-clocks $(BUILD) $(CLOCK_TESTS)

sanitize: ## run all tests with AddressSanitizer and UndefinedBehaviorSanitizer
	+$(MAKE_QUIETLY) SANITIZE=address,undefined BUILD=build-asan test

sanitize-threads: ## run the tests of what threads share with ThreadSanitizer
	@scripts/install-dependencies build test
	+$(MAKE_QUIETLY) SANITIZE=thread BUILD=build-tsan thread-tests

# The sanitizer's shadow needs addresses that newer kernels give away at random: where that can be switched off, it is.
thread-tests: $(THREAD_TESTS:%=$(BUILD)/unit/test_%)
	@ONLY='$(THREAD_TESTS)' $$(setarch -R true 2>/dev/null && echo setarch -R) scripts/run-tests $(BUILD) unit

unit-tests: $(UNIT_TESTS) $(REPLAYS)

unit_test_parts = $(patsubst %.c,$(BUILD)/obj/%.o,$($(1)_WITH)) \
	$(or $(patsubst %.c,$(BUILD)/obj/%.o,$($(1)_SOURCES)),$(LIBRARY))
.SECONDEXPANSION:
$(BUILD)/unit/replay_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/replay.o $$(call unit_test_parts,fuzz_$$*)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(LINK) $(if $(SANITIZE),$(LINK_MODE),-pie) $(fuzz_$*_LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $$(call unit_test_parts,$$*)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(LINK) $(if $(SANITIZE),$(LINK_MODE),-pie) $($*_LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

# ---- Kubernetes -------------------------------------------------------------------------------------------------------

.PHONY: manifests chart-test cluster-test
manifests: ## render k8s/ from the chart, and the chart's table of values
	@scripts/install-dependencies chart
	@scripts/chart-reference write
	@scripts/manifests

chart-test: ## check the chart without a cluster
	@scripts/install-dependencies build chart
	+$(MAKE_QUIETLY) all
	@scripts/chart-test $(BUILD)/nodedot

cluster-test: image ## install the chart with the built image on a real cluster (KUBECONFIG, or CLUSTER=COMMAND)
	@scripts/cluster-test

# ---- Fuzz and measure ------------------------------------------------------------------------------------------------

.PHONY: fuzz fuzzers soak bench
FUZZ_libfuzzer := CC=clang SANITIZE=fuzzer-no-link,address,undefined BUILD=build/fuzz
FUZZ_afl       := CC=afl-clang-fast SANITIZE=address,undefined BUILD=build/fuzz-afl
FUZZ_BUILD      = $(patsubst BUILD=%,%,$(filter BUILD=%,$(FUZZ_$(ENGINE))))
fuzz: ## run every fuzz target for SECONDS (60) each, ENGINE=libfuzzer|afl; finds go to build/fuzz/crashes
	$(if $(FUZZ_$(ENGINE)),,$(error no ENGINE $(ENGINE): there are libfuzzer and afl))
	@scripts/install-dependencies build fuzz $(filter afl,$(ENGINE))
	+$(Q)AFL_QUIET=1 $(MAKE) --no-print-directory $(FUZZ_$(ENGINE)) OPTIMIZE='-O1 -g' fuzzers
	@scripts/fuzz $(FUZZ_BUILD) $(SECONDS) $(ENGINE)

soak: ## random faults against random load for MINUTES (2); nothing may be lost, nothing may grow
	@scripts/install-dependencies build test
	+$(MAKE_QUIETLY) all
	@NODEDOT=$(BUILD)/nodedot /usr/bin/python3 tests/soak/soak.py $(MINUTES) $(SOAK)

fuzzers: $(FUZZERS)

$(BUILD)/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $$(call unit_test_parts,$$*)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(LINK) -fsanitize=fuzzer -fsanitize=address,undefined $($*_LDFLAGS) -o $@ $^ $(LIBS)

bench: ## measure nodedot beside Unbound, dnsdist and Knot Resolver
	@scripts/install-dependencies build bench
	+$(MAKE_QUIETLY) all
	@/usr/bin/python3 tests/bench/run --nodedot $(BUILD)/nodedot --build $(BUILD)/bench $(BENCH)
	@/usr/bin/python3 tests/bench/plot.py $(BUILD)/bench/results.json $(if $(BENCH),$(BUILD)/bench,docs)/bench.svg

# ---- Check the sources -----------------------------------------------------------------------------------------------

.PHONY: lint format reference objects
lint: ## check format, warnings of two compilers, clang-tidy, layers, scripts, the tables in the documentation
	@scripts/install-dependencies build lint
	+@scripts/lint

format: ## format the C sources
	@scripts/install-dependencies lint
	$(Q)find src include tests -name '*.[ch]' -exec clang-format -i {} +

reference: $(BUILD)/reference ## write the tables of options and metrics into the documentation
	$(Q)scripts/reference $(BUILD)/reference write

$(BUILD)/reference: $(BUILD)/obj/tests/tools/reference.o $(LIBRARY)
	$(call say,LINK,$@)
	$(Q)$(LINK) $(if $(SANITIZE),$(LINK_MODE),-pie) -o $@ $^ $(LIBS)

.PHONY: monitoring-test screenshot
monitoring-test: ## check the alert rules and the dashboard with a Prometheus of its own
	@scripts/install-dependencies build monitoring
	+$(MAKE_QUIETLY) all
	@scripts/monitoring-test $(BUILD)/nodedot

screenshot: ## draw the dashboard of two busy nodes into docs/dashboard.png
	@scripts/install-dependencies build monitoring
	+$(MAKE_QUIETLY) all
	@scripts/monitoring-test $(BUILD)/nodedot docs/dashboard.png

objects: $(OBJECTS) $(UNIT_TESTS:$(BUILD)/unit/%=$(BUILD)/obj/tests/unit/%.o) $(SIMULATION:%.c=$(BUILD)/obj/%.o) \
	$(FUZZERS:$(BUILD)/fuzz/%=$(BUILD)/obj/tests/fuzz/%.o) $(BUILD)/obj/tests/fuzz/replay.o

# ---- Deliver ---------------------------------------------------------------------------------------------------------

.PHONY: man image dist sbom install uninstall clean
man: all $(BUILD)/reference ## write the manual pages nodedot(8) and nodedot.ini(5) into build/man
	@scripts/manual $(BUILD)/reference $(BUILD)/nodedot $(BUILD)/man

image: ## build the container image localhost/nodedot:dev and build/image.tar
	@scripts/image '$(IMAGE)' '$(VERSION)' '$(PLATFORM)'

sbom: all ## list what is in the static program, as SPDX: build/sbom.spdx.json (the image holds its own)
	$(Q)scripts/sbom $(BUILD)/nodedot $(BUILD)/nodedot.debug.map '$(VERSION)' >$(BUILD)/sbom.part
	$(Q)mv $(BUILD)/sbom.part $(BUILD)/sbom.spdx.json

install: all man ## install into PREFIX (/usr/local), below DESTDIR
	install -D -m 755 $(BUILD)/nodedot "$(DESTDIR)$(PREFIX)/bin/nodedot"
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/man/man8" $(BUILD)/man/nodedot.8
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/man/man5" $(BUILD)/man/nodedot.ini.5
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/nodedot" README.md CHANGELOG.md SECURITY.md LICENSE
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/nodedot/docs" docs/*.md docs/*.svg docs/*.png
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/nodedot/examples" examples/*

uninstall: ## remove what install put there
	rm -f "$(DESTDIR)$(PREFIX)/bin/nodedot" "$(DESTDIR)$(PREFIX)/share/man/man8/nodedot.8" \
		"$(DESTDIR)$(PREFIX)/share/man/man5/nodedot.ini.5"
	rm -rf "$(DESTDIR)$(PREFIX)/share/doc/nodedot"

dist: ## pack the committed sources as build/nodedot-VERSION.tar.gz
	@scripts/dist

clean: ## remove everything that was built
	rm -rf build build-asan build-tsan

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | expand -t 16
	@echo 'Settings: CC=gcc|clang STATIC=1|0 V=0|1 BUILD= PREFIX= DESTDIR= OPTIMIZE= CFLAGS= LDFLAGS= VERSION= IMAGE= PLATFORM='
