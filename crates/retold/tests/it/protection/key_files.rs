//! Key files: their size, their content, and who else can read them.

use std::path::Path;

use retold::protection::{KeyRing, key_file_warning};

#[test]
fn files_are_read_up_to_their_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let key = format!("k {}\n", "ab".repeat(32));
    std::fs::write(&path, &key).unwrap();
    assert_eq!(KeyRing::from_file(&path).unwrap().writing().id(), "k");
    let large = format!("{key}{}", "#".repeat(1 << 20));
    for (content, part) in [
        (large.as_bytes(), "at most"),
        (b"k \xff".as_slice(), "not a text"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = KeyRing::from_file(&path).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("keys"), "{error}");
    }
    assert!(KeyRing::from_file(folder.path().join("absent")).is_err());
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    let file = tempfile::NamedTempFile::new().unwrap();
    for (mode, who) in [
        (0o600, None),
        (0o400, None),
        (0o640, Some("its group")),
        (0o644, Some("every user")),
        (0o604, Some("every user")),
    ] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).unwrap();
        let warning = key_file_warning(file.path());
        assert_eq!(warning.is_some(), who.is_some(), "{mode:o}");
        if let (Some(warning), Some(who)) = (warning, who) {
            let names_both = warning.contains(who) && warning.contains("chmod 600");
            assert!(names_both, "{warning}");
        }
    }
    assert_eq!(key_file_warning(Path::new("/nowhere/keys")), None);
}
