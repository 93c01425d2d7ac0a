# SPDX-License-Identifier: GPL-3.0-or-later
#
#   make            build the programs into build/
#   make check      build and run all tests          (root: installs what is missing)
#   make demo       the story on real parts          (root only where packages are missing)
#   make bench      measure; prints the README's table
#   make install    DESTDIR and PREFIX as usual
#
# V=1 shows commands, SAN=1 builds with sanitizers, CC=clang changes the compiler.

VERSION := 0.1.0
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BUILD ?= build
CC ?= cc

LIBRARIES := libnftnl libmnl libsystemd jansson jose libcrypto
WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wcast-qual -Wformat=2 -Wvla $(WERROR)
HARDENING := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
CFLAGS ?= -O2 -g
LDFLAGS ?=
ifdef SAN
HARDENING := -fPIE
CFLAGS += -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif

# The libraries' own headers are system headers: our warnings are for our code.
jitgate_cflags = -std=gnu17 $(WARNINGS) $(HARDENING) -I. -Iinclude -D_GNU_SOURCE \
	-DJITGATE_VERSION='"$(VERSION)"' $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(LIBRARIES)))
jitgate_ldflags = -pie -Wl,-z,relro,-z,now -Wl,--as-needed
jitgate_libs = $(shell pkg-config --libs $(LIBRARIES))

COMPILE = $(CC) $(jitgate_cflags) $(CFLAGS) -MMD -MP
LINK = $(CC) $(jitgate_ldflags) $(CFLAGS) $(LDFLAGS)
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$@')

common := $(call objects,$(wildcard agent/common/*.c))
nft := $(call objects,$(wildcard nft/*.c))
daemon := $(call objects,$(filter-out agent/daemon/main.c,$(wildcard agent/daemon/*.c)))
cli := $(call objects,$(wildcard agent/cli/*.c))
unit_tests := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*_test.c))
bench := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*.c))

.PHONY: all
all: $(BUILD)/jitgated $(BUILD)/jitgate

$(BUILD)/%.o: %.c Makefile
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -c -o $@ $<

$(BUILD)/libjitgate.a: $(common) $(nft) $(daemon)
	$(call say,AR)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/jitgated: $(call objects,agent/daemon/main.c) $(BUILD)/libjitgate.a
$(BUILD)/jitgate: $(cli) $(BUILD)/libjitgate.a
$(BUILD)/jitgated $(BUILD)/jitgate:
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(jitgate_libs)

# Tests of the command line's parts need these; the rest is in the library.
$(filter $(BUILD)/tests/unit/cli_%,$(unit_tests)): $(filter-out %/main.o,$(cli))

$(unit_tests): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libjitgate.a
	$(call say,LD)
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(jitgate_libs) -lcmocka

$(bench): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libjitgate.a
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(jitgate_libs)

.PHONY: unit
unit: $(unit_tests)
	$(Q)for test in $^; do echo "$$test"; "$$test" || exit 1; done

.PHONY: clean
clean:
	rm -rf $(BUILD)

.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
