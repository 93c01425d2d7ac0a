# SPDX-License-Identifier: GPL-3.0-or-later
# fish completion for jitgate-server.

function __jitgate_server_command
    string match -q -- "* $argv[1] *" (string join ' ' -- (commandline -opc) '')
end

function __jitgate_server_last
    test (commandline -opc)[-1] = $argv[1]
end

set -l commanded '__jitgate_server_command token; or __jitgate_server_command enrollment'
complete -c jitgate-server -f
complete -c jitgate-server -n "not begin; $commanded; end" -s c -l config -r -F -d 'the configuration'
complete -c jitgate-server -n "not begin; $commanded; end" -s n -l check -d 'check, and exit'
complete -c jitgate-server -n "not begin; $commanded; end" -l version -d 'print the version'
complete -c jitgate-server -s h -l help -d 'print the help'
complete -c jitgate-server -n "not begin; $commanded; end" -a 'token enrollment'
complete -c jitgate-server -n '__jitgate_server_last token' -a new -d 'make a token'
complete -c jitgate-server -n '__jitgate_server_last token' -a list -d 'list tokens'
complete -c jitgate-server -n '__jitgate_server_last token' -a revoke -d 'make a token worthless'
complete -c jitgate-server -n '__jitgate_server_last enrollment' -a new -d 'make a token with which a VM joins'
complete -c jitgate-server -n '__jitgate_server_command "token new"' -l principal -x -d 'whose it is'
complete -c jitgate-server -n '__jitgate_server_command "token new"' -l role -x -d 'what they may do' \
    -a 'reader requester approver administrator'
complete -c jitgate-server -n '__jitgate_server_command "token new"' -l scope -x -d 'where'
complete -c jitgate-server -n '__jitgate_server_command "token new"' -l for -x -d 'how long it is good'
complete -c jitgate-server -n '__jitgate_server_command "enrollment new"' -l vm -x -d 'the id of a VM'
