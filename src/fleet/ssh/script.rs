//! The scripts that hosts run: POSIX `sh` and what every system has. They travel on stdin, and so does their data.
//!
//! What a login shell is asked for is [`BOOTSTRAP`], a fixed text that `sh`, `bash`, `zsh`, `fish` and `csh` read alike:
//! it takes one line from stdin (`read` takes no octet more), the script, and runs it; the rest of stdin is data.

use std::fmt::Write;

/// What stands for a line break in the script's one line.
const BREAK: char = '\u{1}';

/// The remote command. No secret and nothing variable is in it.
pub(super) const BOOTSTRAP: &str =
    r#"sh -c 'IFS= read -r s; eval "$(printf %s "$s" | tr "\001" "\012")"'"#;

/// The same as root.
pub(super) const BOOTSTRAP_AS_ROOT: &str =
    r#"sudo -n sh -c 'IFS= read -r s; eval "$(printf %s "$s" | tr "\001" "\012")"'"#;

/// A script on its way: assignments, what all scripts share, a body.
pub(super) struct Script {
    assignments: String,
    body: &'static str,
}

impl Script {
    pub(super) fn new(body: &'static str) -> Self {
        Self {
            assignments: String::new(),
            body,
        }
    }

    /// Sets a variable. Its value may hold anything but NUL and the octet 1, which is left out; it is not secret.
    pub(super) fn set(mut self, name: &str, value: &str) -> Self {
        let _ = writeln!(self.assignments, "{name}={}", quoted(value));
        self
    }

    /// Sets a variable to a list of words, for `eval`.
    pub(super) fn list(self, name: &str, values: &[String]) -> Self {
        let words: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        self.set(name, &words.join(" "))
    }

    /// Sets a variable to a list of words that may be any octets but NUL.
    pub(super) fn octets<'a>(self, name: &str, values: impl Iterator<Item = &'a [u8]>) -> Self {
        let words: Vec<String> = values.map(word).collect();
        self.set(name, &words.join(" "))
    }

    /// The one line, with its line break.
    pub(super) fn line(&self) -> String {
        let whole = format!("{}{SHARED}{}", self.assignments, self.body);
        let mut line: String = whole
            .chars()
            .map(|c| if c == '\n' { BREAK } else { c })
            .collect();
        line.push('\n');
        line
    }
}

/// Octets as a word for `sh`; what is no UTF-8 and the octet 1 are made there.
fn word(octets: &[u8]) -> String {
    let made = |octets: &[u8]| {
        let octal: String = octets.iter().map(|o| format!("\\{o:03o}")).collect();
        format!("\"$(printf '{octal}')\"")
    };
    let mut word = String::new();
    for chunk in octets.utf8_chunks() {
        for (at, text) in chunk.valid().split(BREAK).enumerate() {
            if at > 0 {
                word.push_str(&made(&[1]));
            }
            word.push_str(&quoted(text));
        }
        if !chunk.invalid().is_empty() {
            word.push_str(&made(chunk.invalid()));
        }
    }
    word
}

/// A word for `sh`.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|&c| c != BREAK && c != '\0').collect();
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What all scripts share. `nonce` and `file` are set.
const SHARED: &str = r#"
LC_ALL=C; export LC_ALL
dir=${file%/*}; dir=${dir:-/}; name=${file##*/}
marker=$dir/.$name.cofferdam-after
marks=$dir/.$name.cofferdam-generation
printf '\n%s begin\n' "$nonce"
end() { printf '\n%s end %s\n' "$nonce" "$*"; exit 0; }
next() { printf '\n%s next\n' "$nonce"; }
meta() { stat -c '%a %u %g' "$1" 2>/dev/null || stat -f '%Lp %u %g' "$1"; }
digest() {
  if command -v sha256sum >/dev/null 2>&1; then s=$(sha256sum)
  elif command -v shasum >/dev/null 2>&1; then s=$(shasum -a 256)
  elif command -v sha256 >/dev/null 2>&1; then s=$(sha256 -q)
  else s=$(openssl dgst -sha256 -r); fi
  printf '%s\n' "${s%% *}"
}
state() { if [ -e "$file" ]; then digest <"$file"; else echo absent; fi; }
flushes=
learn_to_flush() { case $(sync --help 2>&1) in *FILE*) flushes=one;; *) flushes=all;; esac; }
flush() {
  if [ -z "$flushes" ]; then learn_to_flush; fi
  if [ "$flushes" = one ]; then sync "$1"; else sync; fi
}
generation() { sed -n "s/^$lineage //p" "$marks" 2>/dev/null | tail -n 1; }
guard() {
  if [ -z "$lineage" ]; then return 0; fi
  g=$(generation)
  case ${g%% *} in ''|*[!0-9]*|??????????*) return 0;; esac
  if [ "${g%% *}" -gt "$number" ] || { [ "${g%% *}" = "$number" ] && [ "${g#* }" != "$raised" ]; }; then end ahead "$g"; fi
}
mark() {
  if [ -z "$lineage" ] || [ "$(generation)" = "$1" ]; then return 0; fi
  m=$dir/$tmpmark
  e=$( {
    umask 077; set -C
    { [ ! -e "$marks" ] || sed "/^$lineage /d" "$marks"; } >"$m" && { [ -z "$1" ] || printf '%s %s\n' "$lineage" "$1" >>"$m"; } && flush "$m" &&
      if [ -s "$m" ]; then mv -f "$m" "$marks"; else rm -f "$m" "$marks"; fi && flush "$dir"
  } 2>&1 ) || { rm -f "$m"; end failed "write $marks: $e"; }
}
private() {
  m=$(meta "$1") || end failed "look at $1: stat failed"
  case ${m%% *} in *00|0) ;; *) end loose "${m%% *} $1";; esac
}
check() {
  if [ -L "$dir" ]; then end symlink "$dir"; fi
  if [ -L "$file" ]; then end symlink "$file"; fi
  if [ -e "$dir" ]; then [ -d "$dir" ] || end kind "$dir"; private "$dir"; fi
  if [ -e "$file" ]; then [ -f "$file" ] || end kind "$file"; private "$file"; fi
}
"#;

/// Says who logs in, and whether it takes root to work on the file, or to look into a `container`.
pub(super) const PROBE: &str = r#"
uid=$(id -u); need=no
if [ "$uid" != 0 ]; then
  if [ -n "$container" ]; then need=yes; fi
  d=$dir
  while [ ! -e "$d" ] && [ "$d" != / ]; do d=${d%/*}; d=${d:-/}; done
  { [ -w "$d" ] && [ -x "$d" ]; } || need=yes
  if [ -e "$file" ]; then
    m=$(meta "$file"); m=${m#* }
    { [ -r "$file" ] && [ "${m% *}" = "$uid" ]; } || need=yes
  fi
fi
end login "$need"
"#;

/// Reads the file: `absent DIR` lines, innermost first, `generation MARK`, `file MODE UID GID`, then its bytes as a part of their own.
pub(super) const READ: &str = r#"
check
d=$dir
while [ ! -e "$d" ] && [ "$d" != / ]; do printf 'absent %s\n' "$d"; d=${d%/*}; d=${d:-/}; done
if [ -n "$lineage" ]; then printf 'generation %s\n' "$(generation)"; fi
if [ -e "$file" ]; then
  printf 'file %s\n' "$(meta "$file")"
  next
  cat "$file" 2>/dev/null || end failed "read $file: $(cat "$file" 2>&1 >/dev/null | tail -n 1)"
fi
end ok
"#;

/// Writes stdin beside the file and moves it into place if the file still is what was read. `want` and `new` are digests
/// (or `absent`), `mode` octal, `mask` what is missing in it, `tmpname` a name, `after` says that commands are to follow.
///
/// The temporary file is made empty, with its final mode and owner, by an exclusive open, and filled by that descriptor. A
/// connection that breaks ends stdin early: the digest shows it. The generation is raised right before the file is moved into
/// place (`raise` says whether at all): a crash in between leaves a host that older clones do not write to.
pub(super) const WRITE: &str = r#"
check
guard
[ "$want" = "$(state)" ] || end changed
learn_to_flush
if [ ! -d "$dir" ]; then
  parent=${dir%/*}; parent=${parent:-/}
  e=$( { umask 022; mkdir -p "$parent" && umask 077 && mkdir "$dir" && sync; } 2>&1 ) || end failed "make $dir: $e"
fi
tmp=$dir/$tmpname
trap 'rm -f "$tmp" "$dir/$tmpmark"' EXIT
trap 'exit 1' HUP INT TERM PIPE
old=$(meta "$file" 2>/dev/null || meta "$dir"); own=${old#* }; own=${own% *}:${own#* }
put() {
  umask "$mask"; set -C
  { chown "$own" "$tmp" && chmod "$mode" "$tmp" && cat >&3; } 3>"$tmp"
}
e=$(put 2>&1) || end failed "write $tmp: $e"
[ "$(digest <"$tmp")" = "$new" ] || end mangled
e=$(flush "$tmp" 2>&1) || end failed "sync $tmp: $e"
if [ -n "$after" ]; then e=$( { : >"$marker"; } 2>&1 ) || end failed "write $marker: $e"; fi
[ "$want" = "$(state)" ] || end changed
if [ -L "$file" ]; then end symlink "$file"; fi
if [ -n "$raise" ]; then mark "$number $raised"; fi
e=$(mv -f "$tmp" "$file" 2>&1) || end failed "replace $file: $e"
e=$(flush "$dir" 2>&1) || end failed "sync $dir: $e"
[ "$(state)" = "$new" ] || end changed
end ok
"#;

/// Removes the file if it still is what was read.
pub(super) const REMOVE: &str = r#"
check
guard
[ "$want" = "$(state)" ] || end changed
e=$(rm -f "$file" "$marker" 2>&1) || end failed "remove $file: $e"
e=$(flush "$dir" 2>&1) || end failed "sync $dir: $e"
end ok
"#;

/// Lets the host carry the generation `first`, which may be none.
pub(super) const LOWER: &str = r#"
guard
if [ -e "$marks" ]; then mark "$first"; fi
end ok
"#;

/// Removes the folders in `folders`, in order, as far as they are empty.
pub(super) const REMOVE_FOLDERS: &str = r#"
each() { for d in "$@"; do rmdir "$d" 2>/dev/null && flush "${d%/*}/"; done; }
eval "each $folders"
end ok
"#;

/// Removes temporary files that a kill left; prints their paths.
pub(super) const SWEEP: &str = r#"
h='[0-9a-f]'
for f in "$dir"/."$name".cofferdam-$h$h$h$h$h$h$h$h.tmp; do
  if [ -f "$f" ] && [ ! -L "$f" ]; then
    e=$(rm -f "$f" 2>&1) || end failed "remove $f: $e"
    printf '%s\n' "$f"
  fi
done
if [ -d "$dir" ]; then flush "$dir" 2>/dev/null; fi
end ok
"#;

/// Lists the names in each of `folders`, a part a folder, each name with a NUL behind it. An absent folder has none.
pub(super) const LIST: &str = r#"
each() {
  for d in "$@"; do
    next
    d=${d:-/}
    if [ ! -d "$d" ]; then continue; fi
    if [ ! -r "$d" ] || [ ! -x "$d" ]; then end failed "list $d: Permission denied"; fi
    for f in "$d"/* "$d"/.*; do
      n=${f##*/}
      case $n in .|..) continue;; esac
      if [ -e "$f" ] || [ -L "$f" ]; then printf '%s\000' "$n"; fi
    done
  done
}
eval "each $folders"
end ok
"#;

/// Prints digests of `documents` below each of `folders`, a part a folder: `folder` if it is one, then `NUMBER DIGEST` for
/// each document that is there.
pub(super) const DEPLOYED: &str = r#"
documents() {
  i=0
  for f in "$@"; do
    if [ -e "$f" ]; then
      s=$(digest 2>/dev/null <"$f")
      case $s in ????????????????????????????????????????????????????????????????) ;; *) end failed "read $d/$f: $(cat "./$f" 2>&1 >/dev/null | tail -n 1)";; esac
      printf '%s %s\n' "$i" "$s"
    fi
    i=$((i + 1))
  done
}
each() {
  for d in "$@"; do
    next
    d=${d:-/}
    if [ ! -d "$d" ]; then continue; fi
    cd "$d" 2>/dev/null || end failed "enter $d: Permission denied"
    printf 'folder\n'
    eval "documents $documents"
  done
}
eval "each $folders"
end ok
"#;

/// Runs `commands` and forgets that they were due.
pub(super) const AFTER: &str = r#"
each() {
  for c in "$@"; do
    sh -c "$c" </dev/null >/dev/null 2>&1; s=$?
    [ "$s" = 0 ] || end command "$s $c"
  done
}
eval "each $commands"
rm -f "$marker"
end ok
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_one_line_and_values_are_words() {
        let script = Script::new("printf '%s' \"$a\"\n").set("a", "it's $x\n`y`\u{1}");
        let line = script.line();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.starts_with("a='it'\\''s $x\u{1}`y`'\u{1}"));
    }

    #[test]
    fn the_bootstrap_reads_alike_in_all_shells() {
        for text in [BOOTSTRAP, BOOTSTRAP_AS_ROOT] {
            assert_eq!(text.matches('\'').count(), 2);
            // `!` is csh's history also inside quotes; fish reads `\\` and `\'` inside them.
            assert!(!text.contains('!') && !text.contains(r"\\") && !text.contains('\n'));
        }
    }
}
