# SPDX-License-Identifier: GPL-3.0-or-later
#
#   make            build the programs into build/
#   make check      build, and run all tests; with JITGATE_TEST_FAULTS=all each call in a grant's life fails, one by
#                   one, not a few of them: some hours
#   make check-san  the same tests with programs that have sanitizers, built into build/san; mutants are left out
#   make check-kernels  the tests that depend on the kernel most, on those of Debian 11, 12 and 13 in virtual machines;
#                   SUITE=whole for all system tests, KERNELS=bullseye for one
#   make demo       build, and play the story of one request on real parts
#   make lab        build, and leave the demo's hosts running, with a shell
#   make bench      build, and measure; prints the README's table
#   make fuzz       build with clang, and feed each reader of outside bytes for FUZZ_SECONDS (30)
#   make deb        build Debian packages into build/deb
#   make check-deb  build them twice, and require the same bytes; lintian
#   make rpm        build RPMs into build/rpm; for RHEL 9, Fedora, and with Debian's rpmbuild
#   make check-rpm  build them twice, look at them, and install, upgrade and remove them on a system that boots
#   make check-boot boot Debian 11 to 13 in containers, and install, upgrade, break and remove the packages there
#   make install    DESTDIR and PREFIX as usual
#   make deps       install the Debian packages that all of these need
#
# All that build, test or measure install what they need where they are run by root. V=1 shows commands, SAN=1 builds
# with sanitizers, CC=clang changes the compiler, BUILD=DIR the directory.

VERSION := 0.1.0
PREFIX ?= /usr/local
# Distributions have other places.
MANDIR ?= $(PREFIX)/share/man
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/site-functions
FISHCOMPDIR ?= $(PREFIX)/share/fish/vendor_completions.d
BUILD ?= build
CC ?= cc

LIBRARIES := libnftnl libmnl libsystemd jansson jose libcrypto
SERVER_LIBRARIES := libsystemd jansson jose libcrypto libmicrohttpd sqlite3
WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wcast-qual -Wformat=2 -Wvla $(WERROR)
# A packager's flags may ask for more than 2.
HARDENING := -fstack-protector-strong -fPIE $(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,-D_FORTIFY_SOURCE=2)
CPPFLAGS ?=
CFLAGS ?= -O2 -g
LDFLAGS ?=
ifdef SAN
HARDENING := -fPIE
CFLAGS += -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif
ifdef FUZZ
HARDENING := -fPIE
CFLAGS += -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif

# pkg-config runs once, when first needed. The libraries' headers are system headers: our warnings are for our code.
jitgate_cflags = $(eval jitgate_cflags := $(value jitgate_cflags_once))$(jitgate_cflags)
jitgate_cflags_once = -std=gnu17 $(WARNINGS) $(HARDENING) -I. -Iinclude -D_GNU_SOURCE \
	-DJITGATE_VERSION='"$(VERSION)"' $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(LIBRARIES) $(SERVER_LIBRARIES) libcurl))
jitgate_ldflags = -pie -Wl,-z,relro,-z,now -Wl,--as-needed
jitgate_libs = $(eval jitgate_libs := $(shell pkg-config --libs $(LIBRARIES)))$(jitgate_libs)
curl_libs = $(eval curl_libs := $(shell pkg-config --libs libcurl))$(curl_libs)
server_libs = $(eval server_libs := $(shell pkg-config --libs $(SERVER_LIBRARIES)))$(server_libs)

COMPILE = $(CC) $(jitgate_cflags) $(CPPFLAGS) $(CFLAGS) -MMD -MP
LINK = $(CC) $(jitgate_ldflags) $(CFLAGS) $(LDFLAGS)
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$@')

common := $(call objects,$(wildcard agent/common/*.c))
nft := $(call objects,$(wildcard nft/*.c))
daemon := $(call objects,$(filter-out agent/daemon/main.c,$(wildcard agent/daemon/*.c)))
cli := $(call objects,$(wildcard agent/cli/*.c))
server := $(call objects,$(filter-out %/main.c,$(wildcard contrib/control-plane/*.c contrib/control-plane/*/*.c)))
poll := $(call objects,$(wildcard agent/poll/*.c))
unit_tests := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*_test.c))
bench := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*.c))

.PHONY: all
all: $(BUILD)/jitgated $(BUILD)/jitgate-poll $(BUILD)/jitgate $(BUILD)/jitgate-server

$(BUILD)/%.o: %.c Makefile
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -c -o $@ $<

$(BUILD)/agent/daemon/interface.o: agent/daemon/io.jitgate.Agent.varlink
# Link-time optimization, which some packagers turn on, does not see symbols that are made by assembler.
$(BUILD)/agent/daemon/interface.o: override CFLAGS += -fno-lto

$(BUILD)/libjitgate.a: $(common) $(nft) $(daemon)
	$(call say,AR)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/jitgated: $(call objects,agent/daemon/main.c) $(BUILD)/libjitgate.a
$(BUILD)/jitgate: $(cli) $(BUILD)/libjitgate.a
$(BUILD)/jitgate-poll: $(poll) $(BUILD)/libjitgate.a
$(BUILD)/jitgated:
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(jitgate_libs)

# The daemon opens no Internet socket, and has no library for it: these two do.
$(BUILD)/jitgate-poll $(BUILD)/jitgate:
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(jitgate_libs) $(curl_libs)

# Tests of the command line's parts need these; the rest is in the library.
$(filter $(BUILD)/tests/unit/cli_%,$(unit_tests)): $(filter-out %/main.o,$(cli))

$(filter $(BUILD)/tests/unit/poll_%,$(unit_tests)): $(filter-out %/main.o,$(poll))

$(BUILD)/libserver.a: $(common) $(server)
	$(call say,AR)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/jitgate-server: $(call objects,contrib/control-plane/main.c) $(BUILD)/libserver.a
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(server_libs)

server_tests := $(filter $(BUILD)/tests/unit/server_%,$(unit_tests))

$(filter-out $(server_tests),$(unit_tests)): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libjitgate.a
	$(call say,LD)
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(jitgate_libs) $(if $(filter $(cli) $(poll),$^),$(curl_libs)) -lcmocka

$(server_tests): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libserver.a
	$(call say,LD)
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(server_libs) -lcmocka

$(bench): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libjitgate.a
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(jitgate_libs) -lssl

.PHONY: bench
bench: all $(bench)
	$(Q)tests/bench/run $(BUILD)

# A target is a file tests/fuzz/NAME_fuzz.c: nothing here has to name it; server_NAME_fuzz.c is one of the control
# plane's, poll_NAME_fuzz.c one of jitgate-poll's. What a target defines goes before ours. tests/fuzz/fuzz.h says more.
fuzz_targets := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/*_fuzz.c))
fuzz_outside := $(call objects,tests/fuzz/outside.c)

$(filter-out $(BUILD)/tests/fuzz/server_% $(BUILD)/tests/fuzz/poll_%,$(fuzz_targets)): \
	$(filter-out %/main.o,$(cli)) $(BUILD)/libjitgate.a
$(filter $(BUILD)/tests/fuzz/poll_%,$(fuzz_targets)): $(filter-out %/main.o,$(poll)) $(BUILD)/libjitgate.a
$(filter $(BUILD)/tests/fuzz/server_%,$(fuzz_targets)): $(BUILD)/libserver.a
$(fuzz_targets): $(BUILD)/%: $(BUILD)/%.o $(fuzz_outside)
	$(call say,LD)
	$(Q)$(LINK) -fsanitize=fuzzer -Wl,-z,muldefs -o $@ $@.o $(filter-out $@.o,$(filter %.o,$^)) $(filter %.a,$^) $(jitgate_libs) $(server_libs) $(curl_libs)

$(BUILD)/tests/fuzz/kernel_seeds: $(BUILD)/tests/fuzz/kernel_seeds.o $(BUILD)/libjitgate.a
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(jitgate_libs)

.PHONY: fuzz fuzz-targets
fuzz-targets: $(fuzz_targets) $(BUILD)/tests/fuzz/kernel_seeds $(BUILD)/jitgate
	$(Q)tests/fuzz/make-seeds $(BUILD)

fuzz:
	$(Q)packaging/install-packages build fuzz
	$(Q)$(MAKE) --no-print-directory FUZZ=1 CC=clang BUILD=$(BUILD)/fuzz fuzz-targets
	$(Q)tests/fuzz/run $(BUILD)/fuzz

.PHONY: unit
unit: $(unit_tests)
	$(Q)for test in $^; do echo "$$test"; "$$test" || exit 1; done

.PHONY: system
system: all
	$(Q)BUILD=$(BUILD) tests/system/run

.PHONY: mutants
mutants: all
	$(Q)BUILD=$(BUILD) tests/system/mutants.py

# Packages first: what is built next asks pkg-config for them.
.PHONY: check check-san check-kernels demo lab
check:
	$(Q)packaging/install-packages build test
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(MAKE) --no-print-directory unit
	$(Q)$(MAKE) --no-print-directory system
	$(Q)$(MAKE) --no-print-directory mutants

check-san:
	$(Q)packaging/install-packages build test
	$(Q)$(MAKE) --no-print-directory SAN=1 BUILD=$(BUILD)/san all
	$(Q)$(MAKE) --no-print-directory SAN=1 BUILD=$(BUILD)/san unit
	$(Q)$(MAKE) --no-print-directory SAN=1 BUILD=$(BUILD)/san system

check-kernels:
	$(Q)packaging/install-packages build test kernels
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(BUILD) $(if $(KERNELS),KERNELS="$(KERNELS)") $(if $(SUITE),SUITE="$(SUITE)") tests/kernels/run

demo:
	$(Q)packaging/install-packages build demo
	$(Q)$(MAKE) --no-print-directory all
	$(Q)contrib/lab/play demo $(BUILD)

lab:
	$(Q)packaging/install-packages build demo
	$(Q)$(MAKE) --no-print-directory all
	$(Q)contrib/lab/play lab $(BUILD)

.PHONY: deps
deps:
	$(Q)packaging/install-packages build demo test bench fuzz package rpm boot kernels

.PHONY: install
install: all
	install -D -m 755 $(BUILD)/jitgated $(DESTDIR)$(PREFIX)/sbin/jitgated
	install -D -m 755 $(BUILD)/jitgate-server $(DESTDIR)$(PREFIX)/sbin/jitgate-server
	install -D -m 755 $(BUILD)/jitgate $(DESTDIR)$(PREFIX)/bin/jitgate
	install -D -m 755 $(BUILD)/jitgate-poll $(DESTDIR)$(PREFIX)/sbin/jitgate-poll
	for section in 1 5 7 8; do \
		install -d -m 755 $(DESTDIR)$(MANDIR)/man$$section && install -m 644 packaging/man/*.$$section \
			$(DESTDIR)$(MANDIR)/man$$section || exit 1; done
	install -D -m 644 -t $(DESTDIR)$(BASHCOMPDIR) packaging/completions/bash/*
	ln -sf jitgated $(DESTDIR)$(BASHCOMPDIR)/jitgate-poll
	install -D -m 644 -t $(DESTDIR)$(ZSHCOMPDIR) packaging/completions/zsh/*
	install -D -m 644 -t $(DESTDIR)$(FISHCOMPDIR) packaging/completions/fish/*
	install -D -m 644 agent.conf.example $(DESTDIR)$(PREFIX)/share/doc/jitgate/agent.conf.example
	install -D -m 644 contrib/control-plane/server.conf.example $(DESTDIR)$(PREFIX)/share/doc/jitgate-server/server.conf.example
	install -D -m 644 contrib/control-plane/README.md $(DESTDIR)$(PREFIX)/share/doc/jitgate-server/jitgate-server.md
	install -D -m 644 packaging/systemd/jitgate.catalog $(DESTDIR)$(PREFIX)/lib/systemd/catalog/jitgate.catalog
	install -D -m 644 packaging/systemd/jitgate-server.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/jitgate-server.conf
	install -d -m 755 $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -D -m 644 packaging/systemd/jitgate.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/jitgate.conf
	for unit in jitgated jitgate-poll jitgate-server; do \
		sed 's|@PREFIX@|$(PREFIX)|' packaging/systemd/$$unit.service.in \
			>$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service || exit 1; done
	install -d -m 755 $(DESTDIR)/etc/jitgate $(DESTDIR)/etc/apparmor.d
	for profile in jitgated jitgate-poll jitgate-server; do \
		sed 's|@PREFIX@|$(PREFIX)|' packaging/apparmor/$$profile.in \
			>$(DESTDIR)/etc/apparmor.d/$$profile || exit 1; done

.PHONY: deb check-deb
deb:
	$(Q)packaging/install-packages build package
	$(Q)packaging/build-deb $(VERSION) $(BUILD)/deb

check-deb:
	$(Q)packaging/install-packages build package
	$(Q)packaging/check-deb $(VERSION) $(BUILD)/deb

# Where the system is made of RPMs, rpmbuild says what is missing.
.PHONY: rpm check-rpm
rpm:
	$(Q)if command -v dpkg-query >/dev/null; then packaging/install-packages build rpm; fi
	$(Q)packaging/build-rpm $(VERSION) $(BUILD)/rpm

check-rpm:
	$(Q)packaging/install-packages build rpm
	$(Q)tests/packages/rpm/run $(VERSION) $(BUILD)

# SUITES=bookworm boots that one alone.
.PHONY: check-boot
check-boot:
	$(Q)packaging/install-packages boot
	$(Q)BUILD=$(BUILD) tests/boot/run

.PHONY: clean
clean:
	rm -rf $(BUILD)

.SECONDARY:
-include $(shell find $(addprefix $(BUILD)/,agent nft contrib tests) -name '*.d' 2>/dev/null)
