# SPDX-License-Identifier: GPL-3.0-or-later
# fish completion for jitgated.

complete -c jitgated -f
complete -c jitgated -s c -l config -r -F -d 'the configuration'
complete -c jitgated -s n -l check -d 'check, and exit'
complete -c jitgated -l remove-gate -d 'take away the gate, and exit'
complete -c jitgated -s h -l help -d 'print the help'
complete -c jitgated -l version -d 'print the version'
