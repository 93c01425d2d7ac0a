# SPDX-License-Identifier: GPL-3.0-or-later
# fish completion for jitgate-poll.

complete -c jitgate-poll -w jitgated
