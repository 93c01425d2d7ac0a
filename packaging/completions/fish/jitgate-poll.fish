# SPDX-License-Identifier: GPL-3.0-or-later
# fish completion for jitgate-poll.

complete -c jitgate-poll -f
complete -c jitgate-poll -s c -l config -r -F -d 'the configuration'
complete -c jitgate-poll -s n -l check -d 'check, and exit'
complete -c jitgate-poll -s h -l help -d 'print the help'
complete -c jitgate-poll -l version -d 'print the version'
