//! The script by which a host proves what it can open; if a container reads in its place, inside of it, too.

/// Answers challenges with what is found on the host, one part a challenge and place that opens it: `answer NUMBER DIGEST
/// KIND PATH`. Without `cofferdam`, `sops` and `age`: `content KIND PATH` and what the place holds, of SSH keys only the
/// public half.
///
/// `asked` holds all questions for a `cofferdam`: `program`, or the one on PATH; one that does not answer as it should is
/// passed over, and so is one that takes its time. `document_N` and `challenge_N` hold the same text for `sops` and for
/// `age`, N being one of `questions`; `target`, `run` and `octal_N` are hashed behind it.
///
/// With a `container` its view of the file is asked as well, at `inside`, or where its mounts say. Parts of the kind `inside`
/// are from there: by `docker exec` of what it has (the head's line `reader TOOL PATH`), else by the host's own tool on
/// `/proc/PID/root`.
///
/// Source: sops's own search: `SOPS_AGE_KEY_FILE`, `SOPS_AGE_KEY`, `SOPS_AGE_SSH_PRIVATE_KEY_FILE`,
/// `~/.config/sops/age/keys.txt`, `~/.ssh/id_ed25519`, `~/.ssh/id_rsa`. `proc(5)`: the fourth field of `mountinfo` is the
/// mount's root within its file system, which ends in `//deleted` once nothing leads there.
pub(super) const PROVE: &str = r#"
check
if [ -e "$marker" ]; then end pending; fi
stale() {
  awk -v f="$file" '{ r = $4; if (sub(/\/\/deleted$/, "", r) && length(r) > 1 && substr(f, length(f) - length(r) + 1) == r) print $5 }' | sort -u | head -n 3 | tr '\n' ' '
}
mounted=$(cat /proc/[0-9]*/mountinfo 2>/dev/null | stale)
if [ -n "$mounted" ]; then
  holders=
  if command -v docker >/dev/null 2>&1; then
    holders=$(docker ps --quiet 2>/dev/null </dev/null | while IFS= read -r c; do
      p=$(docker container inspect --format '{{.State.Pid}} {{.Name}}' "$c" 2>/dev/null </dev/null)
      if [ -n "$(cat "/proc/${p%% *}/mountinfo" 2>/dev/null | stale)" ]; then printf '%s ' "${p#* /}"; fi
    done)
  fi
  end mounted "$holders;$mounted"
fi
limit=
if timeout 5 true 2>/dev/null; then limit='timeout 15'; fi
by_cofferdam() {
  f=$1; shift
  a=$(printf '%s\n%s\n' "$f" "$asked" | $limit "$@" prove --answer 2>/dev/null) || return 1
  case $a in "cofferdam answers 1"*"cofferdam answered") printf '%s\n' "$a";; *) return 1;; esac
}
tool=none
for p in "$program" cofferdam; do
  if [ -n "$p" ] && command -v "$p" >/dev/null 2>&1 && answers=$(by_cofferdam "$file" "$p"); then tool=cofferdam; cofferdam=$p; break; fi
done
if [ "$tool" = none ]; then
  if command -v sops >/dev/null 2>&1; then tool=sops; elif command -v age >/dev/null 2>&1; then tool=age; fi
fi
inspect() { docker container inspect --format "$1" "$container" </dev/null; }
within() { docker exec -i "$@" 2>/dev/null; }
sops_within() {
  printf '%s\n' "$document" | docker exec -i -e SOPS_AGE_KEY_FILE="$inside" "$container" sops -d --input-type binary --output-type binary /dev/stdin
}
if [ -n "$container" ]; then
  command -v docker >/dev/null 2>&1 || end reader none
  s=$(inspect '{{.State.Running}} {{.State.Pid}}' 2>/dev/null) || end reader "refused $(inspect x 2>&1 >/dev/null | tail -n 1)"
  pid=${s#true }
  case $pid in ''|0|*[!0-9]*) end reader stopped;; esac
  if [ -z "$inside" ]; then
    inside=$(inspect '{{range .Mounts}}{{.Source}}{{"\t"}}{{.Destination}}{{"\n"}}{{end}}' 2>/dev/null | awk -F '\t' -v f="$file" '
      BEGIN { n = -1 }
      NF == 2 { sub(/\/$/, "", $1); sub(/\/$/, "", $2); if (($1 == f || index(f, $1 "/") == 1) && length($1) > n) { n = length($1); best = $2 substr(f, n + 1) } }
      END { if (n >= 0) print best }')
    [ -n "$inside" ] || end reader unmounted
  fi
  root=/proc/$pid/root
  [ -x "$root/" ] || end reader closed
  reader=none
  for t in cofferdam sops age; do
    within "$container" "$t" --help >/dev/null </dev/null || continue
    case $t in
      cofferdam) answers_inside=$(by_cofferdam "$inside" docker exec -i "$container" cofferdam) || continue;;
      sops)
        # A container's own user may not open /dev/stdin there.
        document=$document_0
        case $(sops_within 2>&1 >/dev/null) in *"/dev/stdin"*"permission denied"*) continue;; esac;;
    esac
    reader=$t; break
  done
fi
printf 'tool %s\n' "$tool"
if [ -n "$container" ]; then printf 'reader %s %s\n' "$reader" "$inside"; fi
unquoted() { sed -n "s/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}$1=//p" "$2" | tr -d "\"'" | tail -n 1; }
own_key=${SOPS_AGE_KEY:-}
key_text() { case $1 in var) printf '%s\n' "$own_key";; *) unquoted SOPS_AGE_KEY "$2";; esac; }
with_sops() {
  for v in $(env | sed -n 's/^\(SOPS_[A-Z0-9_]*\)=.*/\1/p'); do unset "$v"; done
  HOME=/nonexistent; XDG_CONFIG_HOME=/nonexistent; export HOME XDG_CONFIG_HOME
  case $1 in
    file) SOPS_AGE_KEY_FILE=$2; export SOPS_AGE_KEY_FILE;;
    ssh) SOPS_AGE_SSH_PRIVATE_KEY_FILE=$2; export SOPS_AGE_SSH_PRIVATE_KEY_FILE;;
    env|var) SOPS_AGE_KEY=$(key_text "$1" "$2"); export SOPS_AGE_KEY;;
  esac
  printf '%s\n' "$document" | sops -d --input-type binary --output-type binary /dev/stdin
}
with_age() {
  case $1 in
    env|var) key_text "$1" "$2" | age -d -i - /dev/fd/3 3<<CHALLENGE
$challenge
CHALLENGE
    ;;
    *) printf '%s\n' "$challenge" | age -d -i "$2";;
  esac
}
opens() {
  if [ "$tool" = sops ] && { [ "$1" != ssh ] || ! command -v age >/dev/null 2>&1; }; then (with_sops "$@"); else with_age "$@"; fi
}
answer() { { opens "$1" "$2" 2>/dev/null; printf '%s%s' "$target" "$run"; printf "$octal"; } | digest; }
seen=:
place() {
  if [ "$1" != var ] && { [ ! -f "$2" ] || [ ! -r "$2" ] || [ ! -s "$2" ]; }; then return 0; fi
  case $seen in *":$1 $2:"*) return 0;; esac
  seen="$seen$1 $2:"
  if [ "$tool" = none ]; then
    next
    printf 'content %s %s\n' "$1" "$2"
    case $1 in
      file) cat "$2";;
      env|var) key_text "$1" "$2";;
      ssh) ssh-keygen -y -P '' -f "$2" 2>/dev/null;;
    esac
    return 0
  fi
  for q in $questions; do
    eval "document=\$document_$q challenge=\$challenge_$q octal=\$octal_$q"
    if opens "$1" "$2" </dev/null >/dev/null 2>&1; then
      next
      printf 'answer %s %s %s %s\n' "$q" "$(answer "$1" "$2" </dev/null)" "$1" "$2"
    fi
  done
}
parts() {
  printf '%s\n' "$1" | while IFS= read -r l; do
    case $l in "answer "*) ;; *) continue;; esac
    if [ -n "$2" ]; then l=$(printf '%s' "$l" | sed 's/^\(answer [0-9]* [0-9a-f]*\) [a-z]* /\1 inside /'); fi
    next
    printf '%s\n' "$l"
  done
}
opens_inside() {
  case $reader in
    sops) sops_within;;
    age) printf '%s\n' "$challenge" | docker exec -i "$container" age -d -i "$inside";;
    none) opens file "$root$inside";;
  esac
}
answer_inside() { { opens_inside 2>/dev/null; printf '%s%s' "$target" "$run"; printf "$octal"; } | digest; }
if [ -n "$container" ]; then
  # Without a tool inside, it is the host that looks at what the container sees.
  if [ "$reader" = none ] && [ "$tool" = cofferdam ]; then
    answers_inside=$(by_cofferdam "$root$inside" "$cofferdam") && parts "$(printf '%s\n' "$answers_inside" | grep -F " file $root$inside" | sed "s|$root||")" inside
  elif [ "$reader" = cofferdam ]; then
    parts "$answers_inside" inside
  elif [ "$reader" = none ] && [ "$tool" = none ]; then
    if [ -f "$root$inside" ] && [ -r "$root$inside" ]; then
      next
      printf 'content inside %s\n' "$inside"
      cat "$root$inside"
    fi
  elif [ "$reader" != none ] || [ -s "$root$inside" ]; then
    for q in $questions; do
      eval "document=\$document_$q challenge=\$challenge_$q octal=\$octal_$q"
      if opens_inside </dev/null >/dev/null 2>&1; then
        next
        printf 'answer %s %s inside %s\n' "$q" "$(answer_inside </dev/null)" "$inside"
      fi
    done
  fi
fi
if [ "$tool" = cofferdam ]; then
  parts "$answers"
  end ok
fi
place file "$file"
place file "${SOPS_AGE_KEY_FILE:-}"
if [ -n "$own_key" ]; then place var SOPS_AGE_KEY; fi
place ssh "${SOPS_AGE_SSH_PRIVATE_KEY_FILE:-}"
place file /etc/sops/age/keys.txt
if [ -n "${XDG_CONFIG_HOME:-}" ]; then place file "$XDG_CONFIG_HOME/sops/age/keys.txt"; fi
for h in "$HOME" /root /home/*; do
  place file "$h/.config/sops/age/keys.txt"
  place file "$h/.sops/key.txt"
  place ssh "$h/.ssh/id_ed25519"
  place ssh "$h/.ssh/id_rsa"
done
place ssh /etc/ssh/ssh_host_ed25519_key
place ssh /etc/ssh/ssh_host_rsa_key
for s in /etc/environment /etc/profile /etc/profile.d/*.sh "$HOME/.profile" "$HOME/.bash_profile" "$HOME/.bashrc" "$HOME/.zshenv"; do
  if [ -r "$s" ] && grep -q SOPS_AGE_ "$s"; then
    place file "$(unquoted SOPS_AGE_KEY_FILE "$s")"
    place ssh "$(unquoted SOPS_AGE_SSH_PRIVATE_KEY_FILE "$s")"
    if [ -n "$(unquoted SOPS_AGE_KEY "$s")" ]; then place env "$s"; fi
  fi
done
end ok
"#;
