# Hookline. `make help` lists the targets; plain `make` builds the programs.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC       := gcc
endif
BUILD    ?= build
PREFIX   ?= /usr/local
VERSION  := 0.1.0
PKGS     := libevent_core hiredis libpq msgpack libcurl jansson libxml-2.0 libcrypto libzstd
WARN     := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wvla -Wformat=2 -Wno-format-nonliteral
OPT      ?= -O2 -g
FORTIFY  ?= -D_FORTIFY_SOURCE=2
HARDEN   ?= -fstack-protector-strong -fPIE
CPPFLAGS += -D_GNU_SOURCE -DHOOKLINE_VERSION='"$(VERSION)"' -Icommon -I. -I$(BUILD)/gen $(CHAOS)
CFLAGS   += -std=gnu17 $(OPT) $(WARN) $(FORTIFY) $(HARDEN) $(SAN) -ffunction-sections -fdata-sections
LDFLAGS  += $(SAN) -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--gc-sections -Wl,--as-needed
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread
JOBS     := $(shell nproc 2>/dev/null || echo 2)
PARALLEL  = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

COMMON_SRC   := $(wildcard common/base/*.c common/io/*.c common/domain/*.c)
PRODUCER_SRC := $(wildcard producer/*.c)
WORKER_SRC   := $(wildcard worker/*.c)
CTL_SRC      := $(wildcard worker/ctl/*.c)
SUPPORT_SRC  := $(wildcard tests/support/*.c)
UNIT_SRC     := $(wildcard tests/unit/test_*.c)
INTEG_SRC    := $(wildcard tests/integration/test_*.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
GEN_SRC  := $(if $(wildcard common/lua/*.lua),$(BUILD)/gen/lua_scripts.c) \
            $(if $(wildcard sql/*.sql),$(BUILD)/gen/migrations.c)
GEN_OBJ  := $(GEN_SRC:.c=.o)
COMMON_OBJ := $(call obj,$(COMMON_SRC)) $(GEN_OBJ)

LIB          := $(BUILD)/libhookline.a
LIB_PRODUCER := $(BUILD)/libproducer.a
LIB_WORKER   := $(BUILD)/libworker.a
LIB_CTL      := $(BUILD)/libctl.a
LIB_SUPPORT  := $(BUILD)/libsupport.a

PROGRAMS := $(if $(wildcard producer/main.c),$(BUILD)/hookline-producer) \
            $(if $(wildcard worker/main.c),$(BUILD)/hookline-worker) \
            $(if $(CTL_SRC),$(BUILD)/hooklinectl)
UNIT_BIN  := $(patsubst %.c,$(BUILD)/%,$(UNIT_SRC))
INTEG_BIN := $(patsubst %.c,$(BUILD)/%,$(INTEG_SRC))
STANDINS  := $(patsubst tests/support/prog_%.c,$(BUILD)/tests/%,$(wildcard tests/support/prog_*.c))

.PHONY: all
all: $(PROGRAMS) ## build the programs into build/ (CC=clang BUILD=build/clang for another compiler)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

# --- what must be installed ------------------------------------------------------------------------
.PHONY: deps deps-test deps-dev
deps: ## install what building and running need (Debian packages; only what is missing)
	@deploy/local/deps.sh run
deps-test: ## install what the tests need besides
	@deploy/local/deps.sh test
	@deploy/local/deps.sh browser || echo "There is no Chromium: the tests of the dashboard are skipped." >&2
deps-dev: ## install what lint, format and coverage need besides
	@deploy/local/deps.sh dev

# --- stamps: a file that changes when what it holds changes -------------------------------------------
FLAGS_NOW   = $(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(LDFLAGS) $(PKG_LIBS)
SOURCES_NOW = $(COMMON_SRC) $(PRODUCER_SRC) $(WORKER_SRC) $(CTL_SRC) $(SUPPORT_SRC)
LUA_SRC    := $(sort $(wildcard common/lua/*.lua))
SQL_SRC    := $(sort $(wildcard sql/*.sql))
DYGRAPHS   := /usr/share/javascript/dygraphs
DASHBOARD_SRC := $(sort $(wildcard producer/dashboard/*)) \
    $(DYGRAPHS)/dygraph.min.js $(DYGRAPHS)/dygraph.min.css $(BUILD)/gen/dygraphs.txt

define stamp
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(1))' | cmp -s - $@ || echo '$(subst ','\'',$(1))' >$@
endef
.PHONY: FORCE
FORCE:
$(BUILD)/stamp/flags: FORCE
	@pkg-config --exists $(PKGS) || { \
	    pkg-config --print-errors --exists $(PKGS); \
	    echo "Some libraries are missing: 'make deps' installs them." >&2; exit 1; }
	$(call stamp,$(FLAGS_NOW))
$(BUILD)/stamp/sources: FORCE
	$(call stamp,$(SOURCES_NOW))
$(BUILD)/stamp/lua: FORCE
	$(call stamp,$(LUA_SRC))
$(BUILD)/stamp/sql: FORCE
	$(call stamp,$(SQL_SRC))
$(BUILD)/stamp/dashboard: FORCE
	$(call stamp,$(DASHBOARD_SRC))

# --- generated sources: Lua scripts, migrations, the OpenAPI document, pages become C strings ---------
$(BUILD)/gen/lua_scripts.c: common/embed.sh $(LUA_SRC) $(BUILD)/stamp/lua
	@mkdir -p $(@D)
	$(call say,GEN) common/embed.sh lua $(LUA_SRC) >$@
$(BUILD)/gen/migrations.c: common/embed.sh $(SQL_SRC) $(BUILD)/stamp/sql
	@mkdir -p $(@D)
	$(call say,GEN) common/embed.sh sql $(SQL_SRC) >$@
$(BUILD)/gen/openapi.c: common/embed.sh producer/openapi.json
	@mkdir -p $(@D)
	$(call say,GEN) common/embed.sh json producer/openapi.json >$@

# The dashboard's pages, and the charts that Debian packages: compressed in the producer.
$(DYGRAPHS)/%:
	@echo "$@ is missing: 'make deps' installs it (Debian package libjs-dygraphs)." >&2; exit 1
# Its licence asks to be carried along.
$(BUILD)/gen/dygraphs.txt: /usr/share/doc/libjs-dygraphs/copyright
	@mkdir -p $(@D)
	@cp $< $@
$(BUILD)/gen/dashboard_files.c: common/embed.sh $(DASHBOARD_SRC) $(BUILD)/stamp/dashboard
	@mkdir -p $(@D)
	$(call say,GEN) common/embed.sh files $(DASHBOARD_SRC) >$@

# --- objects, libraries, programs ---------------------------------------------------------------------
# V=1 shows the commands.
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $@;)
compile = $(call say,CC) $(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/stamp/flags
	$(compile)
$(BUILD)/obj/%.o: %.c $(BUILD)/stamp/flags
	@mkdir -p $(@D)
	$(compile)

not_main = $(filter-out %/main.c,$(1))
define archive
	@rm -f $@
	$(call say,AR) $(AR) rcs $@ $(filter %.o,$^)
endef
$(LIB): $(COMMON_OBJ) $(BUILD)/stamp/sources
	$(archive)
$(LIB_PRODUCER): $(call obj,$(call not_main,$(PRODUCER_SRC))) $(BUILD)/gen/openapi.o \
    $(BUILD)/gen/dashboard_files.o $(BUILD)/stamp/sources
	$(archive)
$(LIB_WORKER): $(call obj,$(call not_main,$(WORKER_SRC))) $(BUILD)/stamp/sources
	$(archive)
$(LIB_CTL): $(call obj,$(call not_main,$(CTL_SRC))) $(BUILD)/stamp/sources
	$(archive)
$(LIB_SUPPORT): $(call obj,$(filter-out tests/support/prog_%,$(SUPPORT_SRC))) $(BUILD)/stamp/sources
	$(archive)

link = $(call say,LINK) $(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(PKG_LIBS)
$(BUILD)/hookline-producer: $(BUILD)/obj/producer/main.o $(LIB_PRODUCER) $(LIB)
	$(link)
$(BUILD)/hookline-worker: $(BUILD)/obj/worker/main.o $(LIB_WORKER) $(LIB)
	$(link)
$(BUILD)/hooklinectl: $(BUILD)/obj/worker/ctl/main.o $(LIB_CTL) $(LIB)
	$(link)
$(BUILD)/samplepage: $(BUILD)/obj/deploy/local/samplepage.o $(LIB)
	$(link)

# --- manual pages: templates filled from the tables of verbs, options and settings ----------------------
MAN_PAGES := $(patsubst deploy/man/%.in,$(BUILD)/man/%,$(wildcard deploy/man/*.in))
MAN_TIME   = $${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || date +%s)}
$(BUILD)/manual: $(BUILD)/obj/deploy/man/manual.o $(LIB_CTL) $(LIB)
	$(link)
$(BUILD)/man/%: deploy/man/%.in $(BUILD)/manual
	@mkdir -p $(@D)
	$(call say,MAN) $(BUILD)/manual "$$(LC_ALL=C date -u -d "@$(MAN_TIME)" '+%B %-d, %Y')" <$< >$@
.PHONY: man
man: $(MAN_PAGES) ## the manual pages, into build/man/ (man build/man/hooklinectl.1)

# --- test programs --------------------------------------------------------------------------------------
# tests/support/prog_NAME.c is a program of its own (a stand-in); the rest is a library for tests.
# Criterion finds its tests in a section that nothing refers to: it must not be collected.
CRITERION  = $(shell pkg-config --libs criterion) -Wl,--no-gc-sections
TEST_LIBS := $(LIB_SUPPORT) $(LIB_PRODUCER) $(LIB_WORKER) $(LIB_CTL) $(LIB)
$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(link) $(CRITERION)
$(BUILD)/tests/integration/%: $(BUILD)/obj/tests/integration/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(link) $(CRITERION)
$(BUILD)/tests/bench/%: $(BUILD)/obj/tests/bench/%.o $(LIB)
	@mkdir -p $(@D)
	$(link)
$(BUILD)/tests/%: $(BUILD)/obj/tests/support/prog_%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(link)

-include $(shell find $(BUILD)/obj $(BUILD)/gen -name '*.d' 2>/dev/null)

# --- checks ---------------------------------------------------------------------------------------------
# T=name runs only the test programs with that in their name, or else the tests with that in theirs.
.PHONY: build-unit build-tests check test asan coverage
build-unit: $(UNIT_BIN)
build-tests: $(PROGRAMS) $(MAN_PAGES) $(STANDINS) $(UNIT_BIN) $(INTEG_BIN) build-chaos

check: ## build and run the unit tests only (seconds; T=name picks some)
	@$(MAKE) --no-print-directory $(PARALLEL) build-unit
	@BUILD=$(BUILD) tests/run.sh unit $(T)

test: ## install what is missing, build everything, run every test (T=name picks some)
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory deps-test
	@$(MAKE) --no-print-directory $(PARALLEL) build-tests
	@BUILD=$(BUILD) tests/run.sh all $(T)

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
asan: ## the whole suite under AddressSanitizer, LeakSanitizer and UBSan
	@$(MAKE) --no-print-directory $(PARALLEL) BUILD=$(BUILD)/asan SAN="$(SANITIZE)" FORTIFY= \
	    OPT="-O1 -g -fno-omit-frame-pointer" build-tests
	@BUILD=$(BUILD)/asan SANITIZED=1 tests/run.sh all $(T)

COVERAGE := $(BUILD)/coverage
coverage: ## line coverage of the whole suite, into build/coverage/index.html
	@$(MAKE) --no-print-directory $(PARALLEL) BUILD=$(COVERAGE) SAN=--coverage FORTIFY= OPT="-O0 -g" \
	    build-tests
	@find $(COVERAGE) -name '*.gcda' -delete
	@BUILD=$(COVERAGE) tests/run.sh all $(T)
	@gcovr --root . --filter 'common/' --filter 'producer/' --filter 'worker/' \
	    --html-details $(COVERAGE)/index.html --print-summary $(COVERAGE)/obj

# --- chaos ------------------------------------------------------------------------------------------------
# The programs once more, with crash points (base/crashpoint.h) and, of the worker, one build for each
# guarantee switched off, which shows that the checker notices. Nothing of it is ever installed.
MUTANTS      := claim_guard scrape_seq ack_before_t3 strays crawl_ack crawl_turns
CHAOS_BUILD  := $(BUILD)/chaos
CHAOS_SRC    := $(wildcard tests/chaos/*.c)
CHAOS_DRIVER := $(BUILD)/tests/chaos/chaos
$(CHAOS_DRIVER): $(call obj,$(CHAOS_SRC)) $(LIB_SUPPORT) $(LIB)
	@mkdir -p $(@D)
	$(link) $(CRITERION)

# These run in a make of their own, with BUILD=build/chaos and CHAOS=-DHOOKLINE_CHAOS.
MUTATED := common/domain/store_sql common/domain/store_crawl_sql worker/job worker/crawl
define mutant # name
$(BUILD)-$(1)/%.o: %.c $(BUILD)/stamp/flags
	@mkdir -p $$(@D)
	$$(compile) -DHOOKLINE_BREAK_$(shell echo $(1) | tr a-z A-Z)
$(BUILD)-$(1)/hookline-worker: $(MUTATED:%=$(BUILD)-$(1)/%.o) $(BUILD)/obj/worker/main.o \
    $(LIB_WORKER) $(LIB)
	$$(link)
endef
$(if $(CHAOS),$(foreach m,$(MUTANTS),$(eval $(call mutant,$(m)))))
.PHONY: mutants build-chaos chaos chaos-mutants
mutants: $(MUTANTS:%=$(BUILD)-%/hookline-worker)

in_chaos = $(MAKE) --no-print-directory $(PARALLEL) BUILD=$(CHAOS_BUILD) CHAOS=-DHOOKLINE_CHAOS
build-chaos: $(CHAOS_DRIVER) $(BUILD)/tests/firecrawl
	@+$(in_chaos) all

chaos: ## faults in random order, then the books are checked (CHAOS_SEED=, CHAOS_SECONDS=120)
	@$(MAKE) --no-print-directory $(PARALLEL) build-chaos
	@HOOKLINE_BUILD=$(BUILD) $(CHAOS_DRIVER)
	@HOOKLINE_BUILD=$(BUILD) $(CHAOS_DRIVER) --schedule recovery

chaos-mutants: ## each guarantee switched off once: the checker must notice every time
	@$(MAKE) --no-print-directory $(PARALLEL) build-chaos
	@+$(in_chaos) mutants
	@HOOKLINE_BUILD=$(BUILD) tests/chaos/mutants.sh $(MUTANTS)

# --- speed ------------------------------------------------------------------------------------------------
# A='--rounds 3 --seconds 1' passes options; A=--help lists them.
.PHONY: bench-postgres bench-metrics bench-scrape build-bench
build-bench: $(BUILD)/hooklinectl $(BUILD)/hookline-producer $(BUILD)/tests/bench/bench_postgres \
    $(BUILD)/tests/bench/bench_metrics
bench-postgres: ## events a second through PostgreSQL, beside one row a transaction (minutes; A=--help)
	@$(MAKE) --no-print-directory $(PARALLEL) build-bench
	@BUILD=$(BUILD) tests/bench/postgres.sh $(A)
bench-metrics: ## what metrics cost PostgreSQL and intake (minutes; A=--help)
	@$(MAKE) --no-print-directory $(PARALLEL) build-bench
	@BUILD=$(BUILD) tests/bench/metrics.sh $(A)
bench-scrape: ## what a scrape of /metrics takes, and what it takes from intake (minutes; A=--help)
	@$(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/hooklinectl $(BUILD)/hookline-producer
	@BUILD=$(BUILD) tests/bench/scrape.sh $(A)

# --- form -------------------------------------------------------------------------------------------------
C_FILES = $(shell find common producer worker tests deploy -name '*.[ch]' 2>/dev/null | sort)
.PHONY: lint format manifests manifests-check
lint: ## formatting, static checks, include arrows, scripts, documented settings, program sizes
	@$(MAKE) --no-print-directory $(PARALLEL) all $(GEN_SRC)
	@BUILD=$(BUILD) JOBS=$(JOBS) tests/lint/run.sh $(CPPFLAGS) $(PKG_CFLAGS) -std=gnu17
manifests-check: ## deploy/kubernetes: rendered, against schemas, settings, each other (kubectl, node)
	@$(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/hooklinectl
	@BUILD=$(BUILD) tests/manifests/run.sh
manifests: ## make those of deploy/kubernetes that are made of other files
	tests/manifests/rules.sh >deploy/kubernetes/components/monitoring/prometheusrule.yaml
format: ## rewrite the C files in the project's format
	clang-format -i $(C_FILES)

# --- use ----------------------------------------------------------------------------------------------------
SAMPLE := $(if $(wildcard deploy/local/samplepage.c),$(BUILD)/samplepage)
.PHONY: run demo stack install clean
stack: $(PROGRAMS) $(SAMPLE)
run: ## start a private stack under .run/, send one sample event, stay until Ctrl-C
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory $(PARALLEL) stack
	@BUILD=$(BUILD) exec deploy/local/stack.sh run
demo: ## the same, and stop everything once the sample event is completed
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory $(PARALLEL) stack
	@BUILD=$(BUILD) exec deploy/local/stack.sh demo

DOCDIR   := $(DESTDIR)$(PREFIX)/share/doc/hookline
SHAREDIR := $(DESTDIR)$(PREFIX)/share
UNITDIR  ?= $(PREFIX)/lib/systemd/system
ZSHDIR   ?= $(PREFIX)/share/zsh/site-functions
INSTALL  ?= install
UNITS    := $(wildcard deploy/systemd/*.service)
install: all man ## install programs, manuals, units (PREFIX=/usr/local, DESTDIR= for packaging)
	$(INSTALL) -d "$(DESTDIR)$(PREFIX)/bin" "$(DOCDIR)"
	$(INSTALL) -s -m 755 $(PROGRAMS) "$(DESTDIR)$(PREFIX)/bin"
	$(INSTALL) -m 644 LICENSE README.md PROTOCOL.md ARCHITECTURE.md deploy/RUNBOOK.md deploy/CUTOVER.md \
	    deploy/hookline.conf "$(DOCDIR)"
	for page in $(MAN_PAGES); do \
	    $(INSTALL) -D -m 644 "$$page" "$(SHAREDIR)/man/man$${page##*.}/$${page##*/}" || exit; done
	$(INSTALL) -d "$(SHAREDIR)/bash-completion/completions" "$(DESTDIR)$(ZSHDIR)"
	$(BUILD)/hooklinectl completion bash >"$(SHAREDIR)/bash-completion/completions/hooklinectl"
	$(BUILD)/hooklinectl completion zsh >"$(DESTDIR)$(ZSHDIR)/_hooklinectl"
	for unit in $(UNITS); do \
	    $(INSTALL) -D -m 644 "$$unit" "$(DESTDIR)$(UNITDIR)/$${unit##*/}" && \
	    sed -i 's,/usr/bin/hook,$(PREFIX)/bin/hook,' "$(DESTDIR)$(UNITDIR)/$${unit##*/}" || exit; done
	$(INSTALL) -D -m 644 -t "$(DESTDIR)$(UNITDIR)/hookline-.service.d" \
	    deploy/systemd/hookline-.service.d/10-hookline.conf
	for kind in sysusers tmpfiles; do \
	    $(INSTALL) -D -m 644 "deploy/systemd/hookline.$$kind" \
	    "$(DESTDIR)$(PREFIX)/lib/$$kind.d/hookline.conf" || exit; done

# --- the Debian package -----------------------------------------------------------------------------------
.PHONY: deb test-deb
deb: ## the Debian package, into build/deb/ (needs debhelper: deploy/local/deps.sh deb)
	@VERSION=$(VERSION) BUILD=$(BUILD) deploy/debian/build.sh
test-deb: deb $(SAMPLE) ## installs, runs, upgrades, removes it in a fresh Debian (root; minutes)
	@VERSION=$(VERSION) BUILD=$(BUILD) tests/deb/test.sh

# --- container image ------------------------------------------------------------------------------------
# BASE: a Debian 12 image that is here or can be fetched; SNAPSHOT=yes: its day's packages (deploy/Dockerfile).
IMAGE    ?= hookline:$(VERSION)
BASE     ?= debian:bookworm-slim
SNAPSHOT ?= no
.PHONY: image test-image
image: ## build the container image with buildah, podman or docker (IMAGE=, BASE=, BUILDER=)
	@IMAGE='$(IMAGE)' BASE='$(BASE)' SNAPSHOT='$(SNAPSHOT)' VERSION='$(VERSION)' deploy/image/build.sh
test-image: ## run it, against a private PostgreSQL and Redis (root; IMAGE=; skipped without podman)
	@IMAGE='$(IMAGE)' VERSION='$(VERSION)' tests/image/smoke.sh

.PHONY: test-kubernetes
test-kubernetes: ## the image on a real Kubernetes, rolled and killed under load (root; KUBE_BIN=, IMAGE=; minutes)
	@[ -z '$(KUBE_BIN)' ] || $(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/hooklinectl $(BUILD)/tests/firecrawl
	@BUILD='$(BUILD)' IMAGE='$(IMAGE)' KUBE_BIN='$(KUBE_BIN)' tests/kubernetes/run.sh

clean: ## remove build/ (data of `make run` stays in .run/)
	rm -rf $(BUILD)
