#!/bin/bash
# Does with a stack what Komodo's periphery 2.3 does, as far as a wrapper can see: the commands in its order, from the root
# of the clone, by bash, without input, with all that they print kept (Komodo's Core stores that text).
#
# periphery.sh ROOT LOGS PROJECT FILES WRAPPER INCLUDE PRE_DEPLOY_PATH PRE_DEPLOY STEPS
# FILES, INCLUDE and STEPS are words. Ends with 1 after the first command that fails, as a deployment does.
# Source: moghtech/komodo cc1c5aa, bin/periphery/src/api/compose.rs, lib/command, lib/environment.
set -u
root=$1 logs=$2 project=$3 files=$4 wrapper=$5 include=$6 pre_path=$7 pre=$8 steps=$9

# Lines that are comments, and what follows ` #`, go; ` \` joins; what is left is joined by &&.
multiline() {
    printf '%s\n' "$1" | sed -e 's/^[[:space:]]*#.*//' -e 's/ #.*//' | sed -e ':a' -e '/ \\$/{N;s/ \\\n[[:space:]]*/ /;ba}' |
        sed -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//' -e '/^$/d' | awk 'NR > 1 { printf " && " } { printf "%s", $0 }'
}

stage() { # name, folder, command
    (cd "$2" && exec /bin/bash -c "$3" </dev/null >"$logs/$1.out" 2>"$logs/$1.err")
    local code=$?
    echo "$code" >"$logs/$1.code"
    [ "$code" = 0 ] || exit 1
}

compose="docker compose -p $project"
for file in $files; do
    [ -r "$root/$file" ] || { echo "no $file" >&2; exit 1; }
    compose+=" -f $file"
done
[ -z "$pre" ] || stage pre_deploy "$root/$pre_path" "$(multiline "$pre")"
for step in $steps; do
    case $step in
    up) command="$compose up -d" ;;
    pull) command="$compose pull --policy missing" ;;
    run) command="$compose run --rm -T ${RUN:-app true}" ;;
    *) command="$compose $step" ;;
    esac
    case " $include " in
    *" $step "*)
        full=$(multiline "$wrapper")
        case $full in
        *"[[COMPOSE_COMMAND]]"*) command=${full//"[[COMPOSE_COMMAND]]"/"$command"} ;;
        *) echo "the wrapper has no placeholder" >&2; exit 1 ;;
        esac
        ;;
    esac
    stage "$step" "$root" "$command"
done
