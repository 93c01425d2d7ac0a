/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/daemon/interface.h"

__asm__(".pushsection .rodata\n"
	".global agent_interface\n"
	"agent_interface:\n"
	".incbin \"agent/daemon/io.jitgate.Agent.varlink\"\n"
	".byte 0\n"
	".popsection\n");
