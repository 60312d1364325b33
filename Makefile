# Hookline. `make help` lists the targets.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC       := gcc
endif
BUILD    ?= build
PREFIX   ?= /usr/local
VERSION  := 0.1.0
PKGS     := libevent_core hiredis libpq msgpack libcurl jansson libxml-2.0 libcrypto
WARN     := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wvla -Wformat=2 -Wno-format-nonliteral
OPT      ?= -O2 -g
HARDEN   ?= -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
CPPFLAGS += -D_GNU_SOURCE -DHOOKLINE_VERSION='"$(VERSION)"' -Icommon -I. -I$(BUILD)/gen
CFLAGS   += -std=gnu17 $(OPT) $(WARN) $(HARDEN) $(SAN)
LDFLAGS  += $(SAN) -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--gc-sections -Wl,--as-needed
CFLAGS   += -ffunction-sections -fdata-sections
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS))
PKG_LIBS   = $(shell pkg-config --libs $(PKGS)) -lpthread

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
LIB      := $(BUILD)/libhookline.a

PROGRAMS := $(BUILD)/hookline-producer $(BUILD)/hookline-worker $(BUILD)/hooklinectl

.PHONY: all
all: $(PROGRAMS)

# --- generated sources: Lua scripts and migrations become C strings ---------------------------
$(BUILD)/gen/lua_scripts.c: common/embed.sh $(wildcard common/lua/*.lua)
	@mkdir -p $(@D)
	common/embed.sh lua $(sort $(wildcard common/lua/*.lua)) >$@
$(BUILD)/gen/migrations.c: common/embed.sh $(wildcard sql/*.sql)
	@mkdir -p $(@D)
	common/embed.sh sql $(sort $(wildcard sql/*.sql)) >$@
$(BUILD)/gen/%.o: $(BUILD)/gen/%.c
	$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -c -o $@ $<

# --- objects, libraries, programs --------------------------------------------------------------
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

not_main = $(filter-out %/main.c,$(1))
LIB_PRODUCER := $(BUILD)/libproducer.a
LIB_WORKER   := $(BUILD)/libworker.a
LIB_SUPPORT  := $(BUILD)/libsupport.a

define archive
	@rm -f $@
	$(AR) rcs $@ $^
endef
$(LIB): $(COMMON_OBJ)
	$(archive)
$(LIB_PRODUCER): $(call obj,$(call not_main,$(PRODUCER_SRC)))
	$(archive)
$(LIB_WORKER): $(call obj,$(call not_main,$(WORKER_SRC)))
	$(archive)
$(LIB_SUPPORT): $(call obj,$(filter-out tests/support/prog_%,$(SUPPORT_SRC)))
	$(archive)

link = $(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)
$(BUILD)/hookline-producer: $(BUILD)/obj/producer/main.o $(LIB_PRODUCER) $(LIB)
	$(link)
$(BUILD)/hookline-worker: $(BUILD)/obj/worker/main.o $(LIB_WORKER) $(LIB)
	$(link)
$(BUILD)/hooklinectl: $(call obj,$(CTL_SRC)) $(LIB)
	$(link)

# --- test programs --------------------------------------------------------------------------------
# tests/support/prog_NAME.c is a program of its own (a stand-in); the rest is a library for tests.
# Criterion finds its tests in a section that nothing refers to: it must not be collected.
CRITERION = $(shell pkg-config --libs criterion) -Wl,--no-gc-sections
TEST_LIBS := $(LIB_SUPPORT) $(LIB_PRODUCER) $(LIB_WORKER) $(LIB)
UNIT_BIN  := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SRC))
INTEG_BIN := $(patsubst tests/integration/%.c,$(BUILD)/tests/integration/%,$(INTEG_SRC))
STANDINS  := $(patsubst tests/support/prog_%.c,$(BUILD)/tests/%,$(wildcard tests/support/prog_*.c))

$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(link) $(CRITERION)
$(BUILD)/tests/integration/%: $(BUILD)/obj/tests/integration/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(link) $(CRITERION) $(if $(wildcard common/domain/migrate.c),-u migrate_run)
$(BUILD)/tests/%: $(BUILD)/obj/tests/support/prog_%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(link)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

.PHONY: clean
clean:
	rm -rf $(BUILD)
