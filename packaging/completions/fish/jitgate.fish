# SPDX-License-Identifier: GPL-3.0-or-later
# fish completion for jitgate, which itself says what may come next (agent/cli/complete.h).

function __jitgate_complete
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    set -e words[1]
    set -l answer (jitgate complete -- $words "$token" 2>/dev/null)
    set -q answer[2]; and printf '%s\n' $answer[2..-1]
    if test "$answer[1]" = files
        set -l option (string match -r -- '^--[^=]*=' "$token")
        for file in (__fish_complete_path (string replace -r -- '^--[^=]*=' '' "$token"))
            echo "$option$file"
        end
    end
end

complete -c jitgate -f -a '(__jitgate_complete)'
