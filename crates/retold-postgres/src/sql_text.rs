//! Quotes names and texts for SQL, with any characters.

use retold_core::recording::Invalid;

use crate::limits::SCHEMA_NAME_SIZE_MAX;

/// Checks that PostgreSQL can store a schema of this name unchanged.
///
/// # Errors
///
/// `Invalid` with the reason.
pub(crate) fn check_schema(name: &str) -> Result<(), Invalid> {
    if name.is_empty() || name.len() > SCHEMA_NAME_SIZE_MAX {
        return Err(Invalid::new(format!(
            "the schema {name:?} has {} bytes; 1 to {SCHEMA_NAME_SIZE_MAX} are allowed",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) || name.starts_with("pg_") {
        return Err(Invalid::new(format!(
            "the schema {name:?} has a name that PostgreSQL reserves or cannot store: it has \
             control characters or begins with pg_"
        )));
    }
    Ok(())
}

/// Quotes a name.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text, independent of how the server treats backslashes.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// Quotes a word of a shell command.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '_';
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Fills in all placeholders of a text in one pass, so that placeholders in the filled-in values
/// stay as they are.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, placeholder, value)) = values
        .iter()
        .filter_map(|(placeholder, value)| Some((rest.find(placeholder)?, *placeholder, *value)))
        .min_by_key(|(start, ..)| *start)
    {
        filled.push_str(&rest[..start]);
        filled.push_str(value);
        rest = &rest[start + placeholder.len()..];
    }
    filled + rest
}

/// Returns a delimiter for a body that may contain the text.
pub(crate) fn dollar_mark(text: &str) -> String {
    let marks = (0_u32..).map(|number| format!("$retold_{number}$"));
    let mut free = marks.filter(|mark| !text.contains(mark));
    free.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
        assert_eq!(shell_word("a'$$b"), "'a'\\''$$b'");
        assert_eq!(shell_word("a_1"), "a_1");
        assert_eq!(dollar_mark("a$$b"), "$retold_0$");
        assert_eq!(dollar_mark("$retold_0$retold_1$"), "$retold_2$");
    }

    #[test]
    fn filled_in_values_are_not_filled_again() {
        let values = [("<a>", "<b>"), ("<b>", "<a>")];
        assert_eq!(fill("x<a>y<b>z", &values), "x<b>y<a>z");
        assert_eq!(fill("", &values), "");
    }

    #[test]
    fn names_that_cannot_be_stored_are_refused() {
        for fine in ["a", "A b", "a$$b", "ä\"'\\", &"x".repeat(63)] {
            assert!(check_schema(fine).is_ok(), "{fine}");
        }
        for bad in ["", "a\nb", "a\0", "pg_x", &"x".repeat(64)] {
            assert!(check_schema(bad).is_err(), "{bad}");
        }
    }
}
