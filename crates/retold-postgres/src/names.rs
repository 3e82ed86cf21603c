//! Prepares unchecked texts for the database, which stores no text with a zero character.

/// Returns the text if a name can equal it.
pub(crate) fn possible(text: &str) -> Option<&str> {
    (!text.contains('\0')).then_some(text)
}

/// Returns a bound after which the same names come as after this text: as no name has a zero
/// character, all names that begin with the part before it come after that part.
pub(crate) fn bound(after: &str) -> &str {
    after.split('\0').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_zero_characters_are_no_names() {
        assert_eq!(possible("a"), Some("a"));
        assert_eq!(possible("a\0"), None);
        assert_eq!(bound("a"), "a");
        for (after, name) in [("a\0b", "a"), ("a\0b", "aa"), ("a\0b", "b"), ("\0", "a")] {
            assert_eq!(name > after, name > bound(after), "{name:?} {after:?}");
        }
    }
}
