//! Which SOPS document a plaintext file comes from, by the names that `sops-decrypt.sh` and people use.

use crate::evidence::Sources;
use crate::repo_path::RepoPath;

/// The SOPS document that produces `plaintext`: the file itself if it is one, else `.sops.env` for `.env`,
/// `NAME.sops.env` for `NAME.env`, and likewise for every other extension; `NAME.enc.EXT` and `secrets.EXT` style
/// names are known too.
pub(super) fn source_of<'a>(sources: &'a Sources, plaintext: &RepoPath) -> Option<&'a RepoPath> {
    let find = |path: &RepoPath| sources.documents.get_key_value(path).map(|(k, _)| k);
    if let Some(found) = find(plaintext) {
        return Some(found);
    }
    let name = plaintext.file_name();
    let (stem, extension) = name.rsplit_once('.')?;
    let encrypted = [
        format!("{stem}.sops.{extension}"),
        format!("{stem}.enc.{extension}"),
        format!("{name}.sops"),
        format!("{name}.enc"),
    ];
    encrypted.iter().find_map(|candidate| {
        let sibling = match plaintext.parent() {
            Some(folder) => folder.join(candidate),
            None => RepoPath::new(candidate),
        };
        find(&sibling.ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{path, sources};

    #[test]
    fn names_of_both_halves() {
        let sources = sources(&[
            ("a/.sops.env", "X=ENC[]"),
            ("a/backup.sops.env", "X=ENC[]"),
            ("a/.sops.json", "ENC[]"),
            ("a/plain.sops.env", "no document"),
        ]);
        let of = |p: &str| source_of(&sources, &path(p)).map(|p| p.as_str().to_owned());
        assert_eq!(of("a/.env").unwrap(), "a/.sops.env");
        assert_eq!(of("a/backup.env").unwrap(), "a/backup.sops.env");
        assert_eq!(of("a/.json").unwrap(), "a/.sops.json");
        assert_eq!(of("a/.sops.env").unwrap(), "a/.sops.env");
        assert_eq!(of("a/plain.env"), None);
        assert_eq!(of("a/LICENSE"), None);
    }
}
